//! Panics of user code are errors like those that it returns.

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

use crate::error::{Error, Result};

thread_local! {
    /// Where this thread has panicked last: the payload of a panic does not tell.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Runs user code and turns a panic into an error with its message and place. After an error, what `work` has worked on
/// may be half changed: drop it.
///
/// # Errors
/// That of `work`, or its panic.
pub fn catch<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    remember_places();
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(error(&*payload)))
}

fn remember_places() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let next = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PLACE.set(info.location().map(ToString::to_string));
            next(info);
        }));
    });
}

fn error(payload: &(dyn Any + Send)) -> Error {
    let text = payload.downcast_ref::<&'static str>().copied();
    let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let (place, message) = (PLACE.take(), message.unwrap_or("no message"));
    Error::user(match place {
        Some(place) => format!("user code panicked at {place}: {message}"),
        None => format!("user code panicked: {message}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_names_its_place() {
        let error = catch::<()>(|| panic!("number {}", 7)).unwrap_err();
        let expected = format!("user code panicked at {}:{}:", file!(), line!() - 1);
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(error.to_string().ends_with(": number 7"), "{error}");
        let error = catch::<()>(|| std::panic::panic_any(7)).unwrap_err();
        assert!(error.to_string().ends_with(": no message"), "{error}");
    }

    #[test]
    fn results_and_errors_pass() {
        assert_eq!(catch(|| Ok(7)).unwrap(), 7);
        assert_eq!(catch::<()>(|| Err(Error::user("no"))).unwrap_err().to_string(), "no");
    }
}
