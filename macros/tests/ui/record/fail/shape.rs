use flott::Record;

#[derive(Record)]
struct Borrowed<'a> {
    name: &'a str,
}

#[derive(Record)]
enum Never {}

#[derive(Record)]
union Bits {
    number: u32,
    float: f32,
}

#[derive(Record)]
struct Tree<T> {
    value: T,
    children: Vec<Tree<T>>,
}

fn main() {}
