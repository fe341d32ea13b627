/// The room for the next element, a batch or a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// There is room.
    Ready,
    /// There is none; it comes with time, in the background.
    Full,
}
