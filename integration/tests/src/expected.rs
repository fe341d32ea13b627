use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use flott_cards::{Answers, PaymentGenerator, Reference, Rule, Total};

/// The right answers to generated payments.
pub(crate) struct Expected {
    pub(crate) answers: Answers,
    /// Bytes of all totals in files.
    pub(crate) totals_bytes: u64,
}

/// The right answers to the first payments of a seed. Tests that ask for the same share them.
pub(crate) fn expected(payments: u64, seed: u64) -> Arc<Expected> {
    static KNOWN: Mutex<BTreeMap<(u64, u64), Arc<Expected>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let compute = || {
        let generator = PaymentGenerator::new(seed);
        let payments = (0..payments).map(|n| generator.payment(n));
        let answers = Reference::answers_to(Rule::default(), payments).unwrap();
        let totals_bytes = answers.totals.iter().map(Total::line_bytes).sum();
        Arc::new(Expected { answers, totals_bytes })
    };
    Arc::clone(known.entry((payments, seed)).or_insert_with(compute))
}
