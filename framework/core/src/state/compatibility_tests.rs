use super::*;
use crate::{
    record::Record,
    state::{StateOptions, TimeDomain},
    testkit::{Random, seeds},
    time::EventTime,
};

fn primitive(name: &str) -> Schema {
    Schema::primitive(name)
}

fn parts(parts: &[(&str, &str)]) -> Vec<(String, Schema)> {
    parts.iter().map(|(name, schema)| ((*name).to_owned(), primitive(schema))).collect()
}

fn structure(fields: &[(&str, &str)]) -> Schema {
    Schema::Struct("Payment".into(), parts(fields))
}

fn enumeration(variants: &[&str]) -> Schema {
    let variants: Vec<_> = variants.iter().map(|name| (*name, "()")).collect();
    Schema::Enum("Status".into(), parts(&variants))
}

fn list(schema: Schema) -> Schema {
    Schema::List(Box::new(schema))
}

fn map(key: Schema, value: Schema) -> Schema {
    Schema::Map(Box::new(key), Box::new(value))
}

fn foreign(version: u32) -> Schema {
    Schema::Foreign { name: "Decimal".into(), version }
}

fn value(schema: Schema) -> StateDeclaration {
    StateDeclaration { schema, ..StateDeclaration::value::<u64, u64>("state") }
}

fn lines(verdict: &Verdict) -> (char, Vec<String>) {
    let text = |item: &dyn fmt::Display| item.to_string();
    match verdict {
        Verdict::Same => ('=', Vec::new()),
        Verdict::Migrates(changes) => ('~', changes.iter().map(|change| text(change)).collect()),
        Verdict::Refused(differences) => ('!', differences.iter().map(|one| text(one)).collect()),
    }
}

#[test]
fn the_table_of_verdicts_on_schemas() {
    let renamed = Schema::Struct("Transfer".into(), parts(&[("card", "u64")]));
    let cases: Vec<(Schema, Schema, char, &[&str])> = vec![
        (primitive("u64"), primitive("u64"), '=', &[]),
        (primitive("u64"), primitive("i64"), '!', &["value: was `u64`, is declared as `i64`"]),
        (primitive("u64"), list(primitive("u64")), '!', &["value: was `u64`, is declared as `Vec<u64>`"]),
        (foreign(1), foreign(1), '=', &[]),
        (
            foreign(1),
            foreign(2),
            '!',
            &["value: was `Decimal, version 1`, is declared as `Decimal, version 2`"],
        ),
        // The name of a type does not count.
        (structure(&[("card", "u64")]), renamed, '=', &[]),
        (
            structure(&[("card", "u64"), ("cents", "i64")]),
            structure(&[("card", "u64"), ("cents", "u64"), ("place", "String")]),
            '!',
            &["value.cents: was `i64`, is declared as `u64`", "value: field `place` is new"],
        ),
        (
            structure(&[("card", "u64"), ("cents", "i64")]),
            structure(&[("card", "u64")]),
            '!',
            &["value: field `cents` is gone"],
        ),
        (
            structure(&[("card", "u64"), ("cents", "i64")]),
            structure(&[("cents", "i64"), ("card", "u64")]),
            '!',
            &["value: the fields are in another order"],
        ),
        (enumeration(&["A"]), enumeration(&["A", "B"]), '~', &["value: variant `B` is new"]),
        (enumeration(&["A", "B"]), enumeration(&["A"]), '!', &["value: variant `B` is gone"]),
        (
            enumeration(&["A", "B"]),
            enumeration(&["A", "C", "B"]),
            '!',
            &["value: variant 1 was `B`, is declared as `C`"],
        ),
        (
            map(enumeration(&["A"]), list(primitive("u8"))),
            map(enumeration(&["A", "B"]), list(primitive("u16"))),
            '!',
            &["value, map value[]: was `u8`, is declared as `u16`"],
        ),
        (
            map(enumeration(&["A"]), primitive("u8")),
            map(enumeration(&["A", "B"]), primitive("u8")),
            '~',
            &["value, map key: variant `B` is new"],
        ),
    ];
    for (written, declared, sign, expected) in cases {
        let found = lines(&verdict(&value(written.clone()), &value(declared.clone())));
        assert_eq!(found, (sign, expected.iter().map(ToString::to_string).collect()), "{written:?}");
        assert_eq!(sign == '=', written.fingerprint() == declared.fingerprint(), "{written:?}");
    }
}

#[test]
fn the_table_of_verdicts_on_kinds_keys_and_options() {
    let of = |kind: StateKind| StateDeclaration { kind, ..value(primitive("u64")) };
    let key = |key: Option<&str>| StateDeclaration { key: key.map(primitive), ..value(primitive("u64")) };
    let ttl = |duration_ms, time| {
        let options = StateOptions { ttl: Some(Ttl { duration_ms, time }), namespace: None };
        StateDeclaration { options, ..value(primitive("u64")) }
    };
    let namespace = |schema: Option<Schema>| {
        let options = StateOptions { ttl: None, namespace: schema };
        StateDeclaration { options, ..of(StateKind::Window) }
    };
    use TimeDomain::{EventTime as Event, ProcessingTime as Processing};
    let cases = [
        (of(StateKind::Map), of(StateKind::Map), '=', ""),
        (of(StateKind::Map), of(StateKind::Value), '!', "its kind was `map`, is declared as `value`"),
        (
            of(StateKind::Unknown("channel".into())),
            of(StateKind::Value),
            '!',
            "a later version of Flott wrote it, and this one does not know its kind `channel`",
        ),
        (key(Some("u64")), key(Some("u32")), '!', "key: was `u64`, is declared as `u32`"),
        (key(None), key(Some("u32")), '!', "key: was `nothing`, is declared as `u32`"),
        (
            ttl(5, Event),
            ttl(9, Event),
            '~',
            "its time to live was 5 ms of event time, is declared as 9 ms of event time",
        ),
        (
            ttl(5, Event),
            ttl(5, Processing),
            '!',
            "its time to live was 5 ms of event time, is declared as 5 ms of processing time",
        ),
        (
            of(StateKind::Value),
            ttl(5, Event),
            '!',
            "its time to live was without end, is declared as 5 ms of event time",
        ),
        (
            namespace(Some(EventTime::schema())),
            namespace(None),
            '!',
            "namespace: was `EventTime`, is declared as `nothing`",
        ),
    ];
    for (written, declared, sign, expected) in cases {
        let (found, lines) = lines(&verdict(&written, &declared));
        assert_eq!((found, lines.join("; ")), (sign, expected.to_owned()));
    }
}

#[test]
fn variants_beyond_one_byte_are_numbered_in_another_way() {
    let variants = |count: usize| {
        let names: Vec<_> = (0..count).map(|number| format!("V{number}")).collect();
        value(enumeration(&names.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    assert!(matches!(verdict(&variants(255), &variants(256)), Verdict::Migrates(_)));
    assert!(matches!(verdict(&variants(257), &variants(258)), Verdict::Migrates(_)));
    let Verdict::Refused(differences) = verdict(&variants(256), &variants(257)) else { panic!("refused") };
    assert_eq!(differences, [Difference::VariantNumbers { place: "value".into() }]);
}

#[test]
fn entries_of_format_1_are_judged_by_their_schema() {
    let declared = StateDeclaration::map::<String, u8, i64>("days");
    let entry = declared.entry_schema().unwrap();
    assert_eq!(verdict_of_entries(&entry, &declared), Verdict::Same);
    let other = StateDeclaration::map::<String, u8, u64>("days");
    let (sign, lines) = lines(&verdict_of_entries(&entry, &other));
    assert_eq!(
        (sign, lines),
        ('!', vec!["entry.map, map value: was `i64`, is declared as `u64`".to_owned()])
    );
    let list = StateDeclaration::operator_list::<u8>("splits");
    assert!(matches!(verdict_of_entries(&entry, &list), Verdict::Refused(_)));
}

fn random_schema(random: &mut Random, depth: u64) -> Schema {
    let names = ["a", "b", "c"];
    let parts = |random: &mut Random| -> Vec<(String, Schema)> {
        let count = random.below(4);
        (0..count).map(|_| (random.pick(&names).to_string(), random_schema(random, depth - 1))).collect()
    };
    match if depth == 0 { 0 } else { random.below(7) } {
        0 => primitive(if random.one_in(2) { "u8" } else { "u16" }),
        1 => foreign(1 + random.below(2) as u32),
        2 => Schema::Optional(Box::new(random_schema(random, depth - 1))),
        3 => list(random_schema(random, depth - 1)),
        4 => map(random_schema(random, depth - 1), random_schema(random, depth - 1)),
        5 => Schema::Struct("S".into(), parts(random)),
        _ => Schema::Enum("E".into(), parts(random)),
    }
}

/// Gives the schema another part somewhere, or none.
fn changed(random: &mut Random, schema: Schema) -> Schema {
    if random.one_in(8) {
        return random_schema(random, 1);
    }
    let each = |random: &mut Random, parts: Vec<(String, Schema)>| {
        parts.into_iter().map(|(name, part)| (name, changed(random, part))).collect()
    };
    match schema {
        Schema::Optional(inner) => Schema::Optional(Box::new(changed(random, *inner))),
        Schema::List(inner) => list(changed(random, *inner)),
        Schema::Map(key, value) => {
            let key = changed(random, *key);
            map(key, changed(random, *value))
        }
        Schema::Struct(name, fields) => Schema::Struct(name, each(random, fields)),
        Schema::Enum(name, variants) => Schema::Enum(name, each(random, variants)),
        other => other,
    }
}

#[test]
fn a_state_is_the_same_exactly_if_its_fingerprint_is() {
    let (mut same, mut others) = (0, 0);
    for seed in seeds(5_000) {
        let mut random = Random::new(seed);
        let written = random_schema(&mut random, 3);
        let declared = changed(&mut random, written.clone());
        let is_same = verdict(&value(written.clone()), &value(declared.clone())) == Verdict::Same;
        let has_same_fingerprint = written.fingerprint() == declared.fingerprint();
        assert_eq!(is_same, has_same_fingerprint, "seed {seed}: {written:?} and {declared:?}");
        *(if is_same { &mut same } else { &mut others }) += 1;
    }
    assert!(same > 500 && others > 500, "{same} the same, {others} not");
}
