use super::{DecodeError, Record};

/// Splits `count` bytes off the front of `input`.
///
/// # Errors
/// When there are fewer.
pub fn take<'a>(input: &mut &'a [u8], count: usize) -> Result<&'a [u8], DecodeError> {
    let (head, rest) = input.split_at_checked(count).ok_or(DecodeError::UnexpectedEnd)?;
    *input = rest;
    Ok(head)
}

/// Sum of field sizes, known if all are.
#[must_use]
pub const fn fixed_sum(sizes: &[Option<usize>]) -> Option<usize> {
    let mut sum = 0;
    let mut i = 0;
    while i < sizes.len() {
        match sizes[i] {
            Some(size) => sum += size,
            None => return None,
        }
        i += 1;
    }
    Some(sum)
}

/// Size of a type whose fixed size is known.
///
/// # Panics
/// At compile time in practice: when the type has no fixed size.
#[must_use]
pub const fn fixed_size_of<T: Record>() -> usize {
    T::FIXED_SIZE.expect("a type of fixed size")
}

/// Appends a length.
///
/// # Panics
/// When a single value is 4 GiB or longer.
pub fn encode_length(length: usize, out: &mut Vec<u8>) {
    let length = u32::try_from(length).expect("one value is shorter than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
}

/// Reads a length that cannot exceed what is left of the input.
///
/// # Errors
/// When the input is shorter than the length says.
pub fn decode_length(input: &mut &[u8]) -> Result<usize, DecodeError> {
    let length = u32::decode(input)? as usize;
    if length > input.len() { Err(DecodeError::UnexpectedEnd) } else { Ok(length) }
}
