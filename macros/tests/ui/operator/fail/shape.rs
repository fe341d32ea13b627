use flott::Operator;

#[derive(Operator)]
struct Limit(u64);

#[derive(Operator)]
enum Either {
    Left,
}

#[derive(Operator)]
struct Borrowed<'a> {
    name: &'a str,
}

fn main() {}
