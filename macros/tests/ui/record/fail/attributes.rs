use flott::{EventTime, Record};

#[derive(Record)]
#[record(event_time)]
struct Payment {
    #[record(event_tim)]
    at: EventTime,
    #[record]
    card: u64,
    #[record(serde = true)]
    note: String,
    #[record(serde, serde)]
    other: String,
    #[record(key)]
    merchant: u64,
}

fn main() {
    let _ = <Payment as flott::plumbing::core::Record>::schema();
}
