use super::{END, ForeignError, MAP, SEQUENCE, SOME, read::Reader};

type Result<T> = std::result::Result<T, ForeignError>;

/// Returns `true` if two encodings are of the same value. The order in sequences and maps does not count: a `HashMap` has another
/// one each time.
pub(super) fn is_same(left: &[u8], right: &[u8]) -> bool {
    left == right || matches!((ordered(left), ordered(right)), (Ok(left), Ok(right)) if left == right)
}

/// The encoding with everything in sequences and maps in ascending order.
fn ordered(input: &[u8]) -> Result<Vec<u8>> {
    let mut reader = Reader::new(input);
    let mut out = Vec::new();
    order(&mut reader, &mut out)?;
    reader.finish().map(|()| out)
}

fn order(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<()> {
    let tag = reader.peek()?;
    if !matches!(tag, SOME | SEQUENCE | MAP) {
        let before = reader.rest();
        reader.skip()?;
        out.extend_from_slice(&before[..before.len() - reader.rest().len()]);
        return Ok(());
    }
    out.push(reader.tag()?);
    reader.within(|reader| {
        if tag == SOME {
            return order(reader, out);
        }
        let mut parts = Vec::new();
        while !reader.ends()? {
            let mut part = Vec::new();
            order(reader, &mut part)?;
            if tag == MAP {
                order(reader, &mut part)?;
            }
            parts.push(part);
        }
        parts.sort();
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out.push(END);
        Ok(())
    })
}
