use std::fmt::{self, Debug};

use rustc_hash::FxHashMap;

use crate::answers::{Alert, Answers, MerchantMinute, Total};

/// Examples that are kept per kind of difference.
const EXAMPLES_MAX: usize = 5;

/// How given answers differ from the right ones, by output.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Of `totals`.
    pub totals: Difference,
    /// Of `alerts`.
    pub alerts: Difference,
    /// Of `merchant-minutes`.
    pub merchant_minutes: Difference,
}

impl Comparison {
    /// Compares.
    #[must_use]
    pub fn new(expected: &Answers, given: &Answers) -> Self {
        let mut totals = Difference::new(&expected.totals, &given.totals);
        if totals.is_none() {
            totals.find_disorder(&given.totals);
        }
        Self {
            totals,
            alerts: Difference::new(&expected.alerts, &given.alerts),
            merchant_minutes: Difference::new(&expected.merchant_minutes, &given.merchant_minutes),
        }
    }

    /// Whether all answers are right.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.outputs().iter().all(|(_, difference)| difference.is_none())
    }

    /// Right answers that were not given, in all outputs.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.sum(|difference| difference.missing)
    }

    /// Right answers that were given more than once: how many too many, in all outputs.
    #[must_use]
    pub fn duplicated(&self) -> u64 {
        self.sum(|difference| difference.duplicated)
    }

    /// Answers that are not right, or not where they belong, in all outputs.
    #[must_use]
    pub fn wrong(&self) -> u64 {
        self.sum(|difference| difference.wrong + difference.disordered)
    }

    fn sum(&self, count: fn(&Difference) -> u64) -> u64 {
        self.outputs().iter().map(|(_, difference)| count(difference)).sum()
    }

    fn outputs(&self) -> [(&'static str, &Difference); 3] {
        [("totals", &self.totals), ("alerts", &self.alerts), ("merchant-minutes", &self.merchant_minutes)]
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, difference) in self.outputs() {
            write!(f, "{separator}{name}: {difference}")?;
            separator = "\n";
        }
        Ok(())
    }
}

/// How the records of one output differ from the right ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Number of right records.
    pub expected: u64,
    /// Number of records that were given.
    pub given: u64,
    /// Right records that were not given.
    pub missing: u64,
    /// Right records that were given again.
    pub duplicated: u64,
    /// Given records that are not right: of other content, or of a key that has none.
    pub wrong: u64,
    /// Right records that were given after one that should come later.
    pub disordered: u64,
    /// The first few of each kind.
    pub examples: Vec<String>,
}

/// A record that is known by a key.
trait Answer: PartialEq + Debug {
    type Key: Ord;
    fn key(&self) -> Self::Key;
}

impl Answer for Total {
    type Key = (u64, u64);
    fn key(&self) -> (u64, u64) {
        (self.card, self.n)
    }
}

impl Answer for Alert {
    type Key = u64;
    fn key(&self) -> u64 {
        self.large
    }
}

impl Answer for MerchantMinute {
    type Key = (i64, u64);
    fn key(&self) -> (i64, u64) {
        (self.minute, self.merchant)
    }
}

impl Difference {
    fn new<A: Answer>(expected: &[A], given: &[A]) -> Self {
        let sorted = |answers: &'_ [A]| {
            let mut order: Vec<usize> = (0..answers.len()).collect();
            order.sort_unstable_by_key(|&index| (answers[index].key(), index));
            order
        };
        let mut difference =
            Self { expected: expected.len() as u64, given: given.len() as u64, ..Self::default() };
        let mut rest = sorted(given).into_iter().map(|index| &given[index]).peekable();
        for answer in sorted(expected).into_iter().map(|index| &expected[index]) {
            while let Some(unasked) = rest.next_if(|given| given.key() < answer.key()) {
                difference.wrong(unasked);
            }
            let mut times_given = 0;
            while let Some(given) = rest.next_if(|given| given.key() == answer.key()) {
                if given == answer { times_given += 1 } else { difference.wrong(given) }
            }
            match times_given {
                0 => difference.missing(answer),
                1 => {}
                times => difference.duplicated(answer, times),
            }
        }
        rest.for_each(|unasked| difference.wrong(unasked));
        difference
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.missing + self.duplicated + self.wrong + self.disordered == 0
    }

    fn wrong(&mut self, answer: &impl Debug) {
        self.wrong += 1;
        self.example(self.wrong, || format!("wrong: {answer:?}"));
    }

    fn missing(&mut self, answer: &impl Debug) {
        self.missing += 1;
        self.example(self.missing, || format!("missing: {answer:?}"));
    }

    fn duplicated(&mut self, answer: &impl Debug, times: u64) {
        self.duplicated += times - 1;
        self.example(self.duplicated, || format!("given {times} times: {answer:?}"));
    }

    fn find_disorder(&mut self, totals: &[Total]) {
        let mut last: FxHashMap<u64, u64> = FxHashMap::default();
        for total in totals {
            let last = last.entry(total.card).or_default();
            if total.n != *last + 1 {
                self.disordered += 1;
                let last = *last;
                self.example(self.disordered, || format!("right after n={last}: {total:?}"));
            }
            *last = total.n;
        }
    }

    fn example(&mut self, number: u64, text: impl FnOnce() -> String) {
        if number <= EXAMPLES_MAX as u64 {
            self.examples.push(text());
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected, given, missing, duplicated, wrong, disordered, examples } = self;
        write!(f, "expected {expected}, given {given}")?;
        if self.is_none() {
            return write!(f, ", equal");
        }
        write!(f, "; missing {missing}, duplicated {duplicated}, wrong {wrong}, disordered {disordered}")?;
        examples.iter().try_for_each(|example| write!(f, "\n  {example}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(numbers: &[(u64, i64)]) -> Answers {
        let totals = numbers.iter().map(|&(n, cents)| Total { card: 1, n, cents }).collect();
        Answers { totals, ..Answers::default() }
    }

    fn compare(given: &[(u64, i64)]) -> [u64; 4] {
        let expected = totals(&[(1, 10), (2, 20), (3, 30)]);
        let comparison = Comparison::new(&expected, &totals(given));
        let Difference { missing, duplicated, wrong, disordered, .. } = comparison.totals;
        assert_eq!(comparison.is_equal(), missing + duplicated + wrong + disordered == 0);
        [missing, duplicated, wrong, disordered]
    }

    #[test]
    fn every_kind_of_difference_is_counted() {
        assert_eq!(compare(&[(1, 10), (2, 20), (3, 30)]), [0, 0, 0, 0]);
        assert_eq!(compare(&[(1, 10), (3, 30)]), [1, 0, 0, 0]);
        assert_eq!(compare(&[(1, 10), (2, 20), (2, 20), (2, 20), (3, 30)]), [0, 2, 0, 0]);
        assert_eq!(compare(&[(1, 10), (2, 21), (3, 30)]), [1, 0, 1, 0]);
        assert_eq!(compare(&[(1, 10), (2, 20), (3, 30), (4, 40)]), [0, 0, 1, 0]);
        assert_eq!(compare(&[(2, 20), (1, 10), (3, 30)]), [0, 0, 0, 3]);
        assert_eq!(compare(&[]), [3, 0, 0, 0]);
    }

    #[test]
    fn differences_are_shown_with_examples() {
        let comparison = Comparison::new(&totals(&[(1, 10)]), &totals(&[(1, 10), (1, 10)]));
        let text = comparison.to_string();
        assert!(text.contains("duplicated 1") && text.contains("given 2 times: Total { card: 1"), "{text}");
        assert!(text.contains("alerts: expected 0, given 0, equal"), "{text}");
    }
}
