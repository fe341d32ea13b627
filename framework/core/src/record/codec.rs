use super::{DecodeError, ForeignCheck, Schema, Unreadable, take};
use crate::{
    hash::{self, HashSeed},
    time::EventTime,
};

/// A key whose encoding always takes as many bytes, and not more than this, is hashed without an allocation.
const SMALL_BYTES_MAX: usize = 64;

/// Memory that is reserved for values of varying size before any has been read.
const RESERVE_BYTES_MAX: usize = 64 << 10;

/// A type that can flow between operators and rest in state. Derive it.
///
/// `FIXED_SIZE` promises that every value takes exactly that many bytes; then the `_fixed` methods must be given,
/// and batches are encoded in one go.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a Record: it cannot be sent between tasks or kept in state",
    label = "not a Record",
    note = "a type of your own: put `#[derive(Record)]` on it",
    note = "a type of another crate: put `#[record(serde)]` on the field that holds it, or wrap it: \
            `#[derive(Record)] struct Name(#[record(serde)] {Self});`"
)]
pub trait Record: Sized + Send + Sync + 'static {
    /// Encoded size in bytes where all values have the same.
    const FIXED_SIZE: Option<usize>;

    /// `true` if different values have different key hashes, so that nobody can choose keys with the same hash.
    const KEY_HASH_IS_UNIQUE: bool = false;

    /// The schema of the encoding.
    fn schema() -> Schema;

    /// Appends the encoding.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads one value from the front of `input` and moves `input` past it.
    ///
    /// # Errors
    /// When the bytes are not a valid encoding. Never panics and never allocates more than the input justifies.
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError>;

    /// A copy of the value.
    #[must_use]
    fn duplicate(&self) -> Self;

    /// Writes the encoding into `out`, which has exactly [`Self::FIXED_SIZE`] bytes.
    fn encode_fixed(&self, out: &mut [u8]) {
        let mut bytes = Vec::with_capacity(out.len());
        self.encode(&mut bytes);
        out.copy_from_slice(&bytes);
    }

    /// Reads the encoding from `input`, which has exactly [`Self::FIXED_SIZE`] bytes.
    ///
    /// # Errors
    /// As [`Self::decode`].
    fn decode_fixed(mut input: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(&mut input)
    }

    /// When it happened, if the type has a field marked `#[record(event_time)]`.
    fn event_time(&self) -> Option<EventTime> {
        None
    }

    /// Reads foreign values back, the first one of each type: gives those behind `#[record(serde)]` to
    /// [`ForeignCheck::value`] and those within other fields to [`Self::check_foreign`].
    ///
    /// # Errors
    /// When one cannot be read back.
    fn check_foreign(&self, _check: &mut ForeignCheck) -> Result<(), Unreadable> {
        Ok(())
    }

    /// The frozen hash that assigns keys to key groups: equal values hash equally in all versions and on all
    /// machines.
    fn key_hash(&self) -> u64 {
        let mut buffer = [0; SMALL_BYTES_MAX];
        if let Some(bytes) = small(self, &mut buffer) {
            return hash::bytes(bytes);
        }
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        hash::bytes(&bytes)
    }

    /// The hash under which a table keeps it: equal values hash equally with the same seed. `scratch` is memory to use.
    fn table_hash(&self, seed: HashSeed, scratch: &mut Vec<u8>) -> u64 {
        if Self::KEY_HASH_IS_UNIQUE {
            return seed.word(self.key_hash());
        }
        let mut buffer = [0; SMALL_BYTES_MAX];
        if let Some(bytes) = small(self, &mut buffer) {
            return seed.bytes(bytes);
        }
        scratch.clear();
        self.encode(scratch);
        seed.bytes(scratch)
    }
}

/// The encoding of a record that always takes few bytes.
#[inline]
fn small<'b, T: Record>(record: &T, buffer: &'b mut [u8; SMALL_BYTES_MAX]) -> Option<&'b [u8]> {
    let bytes = T::FIXED_SIZE.and_then(|size| buffer.get_mut(..size))?;
    record.encode_fixed(bytes);
    Some(bytes)
}

/// A record that can be a key: it is compared, ordered and hashed.
///
/// Implemented for every [`Record`] that is `Eq + Ord`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    label = "a key implements `Record`, `Eq` and `Ord`",
    note = "a type of your own: put `#[derive(Record, PartialEq, Eq, PartialOrd, Ord)]` on it",
    note = "a type of another crate: wrap it: \
            `#[derive(Record, PartialEq, Eq, PartialOrd, Ord)] struct Name(#[record(serde)] {Self});`",
    note = "a reference: clone what it refers to, for example `.key_by(|record| record.name.clone())`",
    note = "a floating-point number: use an integer, for example cents, or `to_bits()`"
)]
pub trait Key: Record + Eq + Ord {}
// Otherwise the compiler names the first bound that is missing, and leaves out the advice above.
#[diagnostic::do_not_recommend]
impl<T: Record + Eq + Ord> Key for T {}

/// Appends the encodings of all `records`.
pub fn encode_all<T: Record>(records: &[T], out: &mut Vec<u8>) {
    match T::FIXED_SIZE {
        Some(size) if size > 0 => {
            let start = out.len();
            out.resize(start + records.len() * size, 0);
            for (record, chunk) in records.iter().zip(out[start..].chunks_exact_mut(size)) {
                record.encode_fixed(chunk);
            }
        }
        _ => records.iter().for_each(|record| record.encode(out)),
    }
}

/// Reads `count` values from the front of `input` onto the end of `records`.
///
/// # Errors
/// When the bytes are not `count` valid encodings.
pub fn decode_all<T: Record>(
    input: &mut &[u8],
    count: usize,
    records: &mut Vec<T>,
) -> Result<(), DecodeError> {
    match T::FIXED_SIZE {
        Some(size) if size > 0 => {
            let bytes = count.checked_mul(size).ok_or(DecodeError::UnexpectedEnd)?;
            let encoded = take(input, bytes)?;
            records.reserve(count);
            for chunk in encoded.chunks_exact(size) {
                records.push(T::decode_fixed(chunk)?);
            }
        }
        _ => {
            // The input justifies its own length only: `T` may be far larger than its encoding.
            let affordable = RESERVE_BYTES_MAX / size_of::<T>().max(1);
            records.reserve(count.min(input.len()).min(affordable));
            for _ in 0..count {
                records.push(T::decode(input)?);
            }
        }
    }
    Ok(())
}
