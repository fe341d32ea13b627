#[flott::main]
fn main() {}
