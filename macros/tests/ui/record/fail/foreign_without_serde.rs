use flott::Record;

struct Amount(u64);

#[derive(Record)]
struct Payment {
    #[record(serde)]
    amount: Amount,
}

fn main() {}
