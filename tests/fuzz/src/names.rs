//! Fuzzes names: what the service lists is carried unchanged, different objects have different
//! texts, and the text of an object is parsed as that object.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cmp::Ordering;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use twinlake_core::name::{ObjectName, dotted};
use twinlake_core::{FunctionId, Name, Subject, TableId};

fuzz_target!(|texts: (&str, &str, &str, &str)| {
    let texts = [texts.0, texts.1, texts.2, texts.3];
    for text in texts {
        check_spelling(text);
        check_parsed(text);
    }
    for (one, other) in [(0, 1), (0, 2), (1, 3), (2, 3)] {
        check_order(
            &Name::from_service(texts[one]),
            &Name::from_service(texts[other]),
        );
    }
    check_different_texts(texts);
    // What a person or an event may give.
    if let [Ok(a), Ok(b), Ok(c), Ok(d)] = texts.map(Name::new) {
        let one = TableId::new(a.clone(), b.clone());
        let other = TableId::new(c.clone(), d);
        check_printed(&ObjectName::Table(one.clone()));
        check_printed(&ObjectName::Database(a.clone()));
        check_subjects(&Subject::Table(one.clone()), &Subject::Table(other));
        let function = FunctionId::new(a.clone(), b);
        check_subjects(&Subject::Function(function), &Subject::Table(one));
        check_subjects(&Subject::Database(a), &Subject::Database(c));
    }
});

/// The spelling of a listed name stays, in memory and in JSON, and its key is stable.
fn check_spelling(text: &str) {
    let name = Name::from_service(text);
    assert_eq!(name.as_listed(), text);
    assert_eq!(name.as_str(), text.to_lowercase());
    let json = serde_json::to_string(&name).expect("a name is JSON");
    let read: Name = serde_json::from_str(&json).expect("the JSON is a name's");
    assert_eq!(read.as_listed(), text);
    // The ledger stores the key, and reads it as the name.
    let key = name.as_str();
    assert_eq!(Name::from_service(key), name);
    if let Ok(given) = Name::new(text) {
        assert_eq!(given, name);
        assert_eq!(given.as_listed(), key);
        assert_eq!(Name::new(key), Ok(given));
    }
}

fn check_parsed(text: &str) {
    match ObjectName::parse(text) {
        Ok(parsed) => check_printed(&parsed),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn check_printed(object: &ObjectName) {
    assert_eq!(
        ObjectName::parse(&object.to_string()).as_ref(),
        Ok(object),
        "{object}"
    );
}

/// Equality, order and hash agree.
fn check_order(one: &Name, other: &Name) {
    assert_eq!(one == other, one.cmp(other) == Ordering::Equal);
    assert_eq!(one.cmp(other), other.cmp(one).reverse());
    if one == other {
        assert_eq!(hash(one), hash(other));
    }
}

fn hash(name: &Name) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// Different lists of names, of any lengths but none, have different texts.
fn check_different_texts(texts: [&str; 4]) {
    let [a, b, c, d] = texts;
    let lists: [&[&str]; 7] = [
        &[a],
        &[b],
        &[a, b],
        &[c, d],
        &[a, d],
        &[a, b, c],
        &[b, c, d],
    ];
    let printed = lists.map(|list| (list, dotted(list.iter().copied())));
    for (one, text) in &printed {
        for (other, other_text) in &printed {
            assert_eq!(text == other_text, one == other, "{text}");
        }
    }
}

/// Different subjects have different texts and different JSON.
fn check_subjects(one: &Subject, other: &Subject) {
    let json = |subject: &Subject| serde_json::to_string(subject).expect("a subject is JSON");
    assert_eq!(one == other, one.to_string() == other.to_string(), "{one}");
    assert_eq!(one == other, json(one) == json(other), "{one}");
    let read: Subject = serde_json::from_str(&json(one)).expect("the JSON is a subject's");
    assert_eq!(read, *one);
}
