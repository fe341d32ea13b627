/// What can go wrong in the demo.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Feeding, running or reading back failed.
    #[error(transparent)]
    Cards(#[from] flott_cards::Error),
    /// Building, or starting Kafka failed.
    #[error(transparent)]
    Xtask(#[from] xtask::Error),
    /// A file or directory could not be used.
    #[error("cannot use a temporary directory: {0}")]
    Io(#[from] std::io::Error),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;
