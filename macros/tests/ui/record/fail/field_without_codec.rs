use flott::Record;

struct Amount(u64);

#[derive(Record)]
struct Payment {
    card: u64,
    amount: Amount,
}

#[derive(Record)]
enum Change {
    Paid(u64, Option<Amount>),
}

fn main() {}
