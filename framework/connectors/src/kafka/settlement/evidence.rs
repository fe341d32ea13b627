//! Looking up records of one transaction in all its partitions, of which one is enough.

use std::{pin::pin, time::Duration};

use flott_core::Result;
use futures::{Stream, StreamExt};
use tokio::time::timeout;

use crate::kafka::client::RecordFate;

/// Time for the other partitions when one has decided, or could not be asked within the client's patience.
const GRACE: Duration = Duration::from_secs(2);

/// Fates of the records: of all, or of those that could be told in time if one of them decides.
///
/// # Errors
/// When a look has failed and none has decided.
pub(super) async fn gather(looks: impl Stream<Item = Result<RecordFate>>) -> Result<Vec<RecordFate>> {
    let mut looks = pin!(looks);
    let (mut fates, mut failed) = (Vec::new(), None);
    let mut note = |look| match look {
        Ok(fate) => fates.push(fate),
        Err(error) => failed = Some(error),
    };
    while let Some(look) = looks.next().await {
        let is_last = look.as_ref().map_or(true, |fate| fate.decides());
        note(look);
        if is_last {
            let rest = async {
                while let Some(look) = looks.next().await {
                    note(look);
                }
            };
            // Whoever is silent now is not waited for.
            let _ = timeout(GRACE, rest).await;
            break;
        }
    }
    match failed {
        Some(error) if !fates.iter().any(RecordFate::decides) => Err(error),
        _ => Ok(fates),
    }
}

#[cfg(test)]
mod tests {
    use flott_core::Error;
    use futures::{FutureExt, stream};

    use super::*;

    fn found(fates: &[RecordFate]) -> impl Stream<Item = Result<RecordFate>> {
        stream::iter(fates.to_vec()).map(Ok)
    }

    fn failed() -> impl Stream<Item = Result<RecordFate>> {
        stream::once(async { Err(Error::transient("held back")) })
    }

    #[tokio::test]
    async fn one_partition_that_knows_is_enough() {
        let fates = [RecordFate::Gone, RecordFate::Committed];
        assert_eq!(gather(failed().chain(found(&fates))).await.unwrap(), fates);
        let error = gather(failed().chain(found(&[RecordFate::HeldBack]))).await.unwrap_err();
        assert!(error.to_string().contains("held back"), "{error}");
        assert_eq!(gather(found(&[RecordFate::HeldBack])).await.unwrap(), [RecordFate::HeldBack]);
    }

    #[tokio::test]
    async fn nobody_waits_long_for_the_others_when_one_has_decided() {
        let silent = found(&[RecordFate::Aborted]).chain(stream::pending());
        assert_eq!(gather(silent).await.unwrap(), [RecordFate::Aborted]);
        assert!(gather(found(&[RecordFate::Gone]).chain(stream::pending())).now_or_never().is_none());
    }
}
