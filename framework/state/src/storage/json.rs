use flott_core::{Error, ErrorKind, Result, format::Format};
use serde::{Deserialize, de::DeserializeOwned};

/// Reads JSON of a format: its number first, whatever else the object holds.
///
/// # Errors
/// [`ErrorKind::State`] when a newer Flott wrote it, or it is damaged.
pub(super) fn read<T: DeserializeOwned>(format: Format, path: &str, text: &[u8]) -> Result<T> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let head: Head = serde_json::from_slice(text).map_err(|error| damaged(format, path, error))?;
    format.check(head.format).map_err(|error| error.context(path))?;
    serde_json::from_slice(text).map_err(|error| damaged(format, path, error))
}

/// The error for data that is not as it was written.
pub(super) fn damaged(format: Format, path: &str, why: impl std::fmt::Display) -> Error {
    let way_out = "Restore it from a copy of the checkpoint directory; in an empty directory the job starts from nothing";
    Error::new(ErrorKind::State, format!("{} {path} is damaged: {why}. {way_out}", format.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THING: Format = Format { name: "thing", oldest: 1, newest: 3 };

    #[derive(Deserialize)]
    struct Thing {
        known: u32,
        #[serde(default)]
        appended: u32,
    }

    fn read(text: &str) -> Result<Thing> {
        super::read(THING, "some/path", text.as_bytes())
    }

    #[test]
    fn the_format_is_read_before_anything_else() {
        let newer = read(r#"{"all":"else","is":{"new":1},"format":7}"#).err().unwrap();
        assert_eq!(newer.kind(), ErrorKind::State);
        let expected = "some/path: thing: written by a newer Flott: format 7, this binary reads up to 3; run the newer binary";
        assert_eq!(newer.to_string(), expected);
        for text in ["", "{}", "[]", "{\"format\":", "{\"format\":-1}", "{\"format\":3}"] {
            let error = read(text).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::State);
            assert!(error.to_string().starts_with("thing some/path is damaged: "), "{error}");
        }
    }

    #[test]
    fn later_fields_are_ignored_and_missing_ones_have_defaults() {
        let thing = read(r#"{"format":3,"known":5,"later":{"a":[1]}}"#).unwrap();
        assert_eq!((thing.known, thing.appended), (5, 0));
        assert_eq!(read(r#"{"format":3,"known":5,"appended":6}"#).unwrap().appended, 6);
    }
}
