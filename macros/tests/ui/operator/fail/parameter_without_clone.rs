use flott::Operator;

struct Connection;

#[derive(Operator)]
struct Send {
    connection: Connection,
}

fn main() {}
