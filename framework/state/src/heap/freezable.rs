use std::sync::Arc;

/// A full copy of a container.
pub(super) trait Duplicate: Default {
    /// Makes it.
    fn duplicate(&self) -> Self;
}

/// A container that a checkpoint can freeze without copying it: the first write afterwards takes it back, or copies
/// it if the checkpoint still reads.
pub(super) enum Freezable<T> {
    /// Ours alone.
    Owned(T),
    /// Read by a checkpoint as well.
    Shared(Arc<T>),
}

impl<T: Default> Default for Freezable<T> {
    fn default() -> Self {
        Self::Owned(T::default())
    }
}

impl<T: Duplicate> Freezable<T> {
    /// To look at.
    #[inline]
    pub(super) fn read(&self) -> &T {
        match self {
            Self::Owned(content) => content,
            Self::Shared(content) => content,
        }
    }

    /// To change.
    #[inline]
    pub(super) fn write(&mut self) -> &mut T {
        if matches!(self, Self::Shared(_)) {
            self.take_back();
        }
        match self {
            Self::Owned(content) => content,
            Self::Shared(_) => unreachable!("it was taken back above"),
        }
    }

    /// To look at, if it is ours alone.
    #[inline]
    pub(super) fn owned(&self) -> Option<&T> {
        match self {
            Self::Owned(content) => Some(content),
            Self::Shared(_) => None,
        }
    }

    #[cold]
    fn take_back(&mut self) {
        let content = std::mem::take(self).into_owned();
        *self = Self::Owned(content.unwrap_or_else(|shared| shared.duplicate()));
    }

    /// The content, if it is ours alone or nobody else reads it any more.
    pub(super) fn into_owned(self) -> Result<T, Arc<T>> {
        match self {
            Self::Owned(content) => Ok(content),
            Self::Shared(content) => Arc::try_unwrap(content),
        }
    }

    /// The content as it is now, for a checkpoint.
    pub(super) fn freeze(&mut self) -> Arc<T> {
        let content = match std::mem::take(self) {
            Self::Owned(content) => Arc::new(content),
            Self::Shared(content) => content,
        };
        *self = Self::Shared(Arc::clone(&content));
        content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, PartialEq, Debug)]
    struct Numbers(Vec<u8>);

    impl Duplicate for Numbers {
        fn duplicate(&self) -> Self {
            Self(self.0.clone())
        }
    }

    #[test]
    fn a_write_after_freezing_does_not_reach_the_frozen_copy() {
        let mut numbers = Freezable::Owned(Numbers(vec![1]));
        let frozen = numbers.freeze();
        numbers.write().0.push(2);
        assert_eq!(*frozen, Numbers(vec![1]));
        assert_eq!(*numbers.read(), Numbers(vec![1, 2]));
    }

    #[test]
    fn what_nobody_reads_any_more_is_taken_back_without_a_copy() {
        let mut numbers = Freezable::Owned(Numbers(vec![1]));
        let address = numbers.read().0.as_ptr();
        drop(numbers.freeze());
        assert_eq!(numbers.write().0.as_ptr(), address);
    }
}
