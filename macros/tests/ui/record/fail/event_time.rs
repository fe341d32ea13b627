use flott::{EventTime, Record};

#[derive(Record)]
struct Seconds {
    #[record(event_time)]
    at: u32,
}

#[derive(Record)]
struct Twice {
    #[record(event_time)]
    at: EventTime,
    #[record(event_time)]
    seen: EventTime,
}

fn main() {}
