use flott::{
    Operator, Result, operator,
    plumbing::{
        core::{
            operator::Output,
            state::{EventTimer, ValueState},
        },
        operators::function::{Context, ProcessFunction},
    },
};

#[derive(Operator)]
struct Alarm<T> {
    #[state]
    last: ValueState<T>,
    #[timer]
    disarm: EventTimer,
}

#[operator]
impl<T: flott::plumbing::core::Record> Alarm<T> {
    fn process(&mut self, record: T) {
        self.last.set(record);
    }
}

fn main() {
    let on_timer: fn(&mut Alarm<u64>, usize, &u8, &Context, &mut Output<()>) -> Result<()> =
        ProcessFunction::on_timer;
    let _ = std::hint::black_box(on_timer);
}
