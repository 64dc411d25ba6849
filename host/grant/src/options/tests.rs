use proptest::prelude::*;

use super::*;

fn field(name: &str, kind: FieldKind) -> Field {
    Field { name: name.to_owned(), kind, required: false, help: format!("help of {name}") }
}

fn required(name: &str, kind: FieldKind) -> Field {
    Field { required: true, ..field(name, kind) }
}

const PATH: FieldKind = FieldKind::Path { read_only: false, create: true };
const STORE: FieldKind = FieldKind::Store { read_only: false, create: false };

fn words(words: &[&str]) -> FieldKind {
    FieldKind::Choice(words.iter().map(|&word| word.to_owned()).collect())
}

/// tcmu-runner's zbc.
fn zbc() -> Schema {
    let number = |min, max| FieldKind::Number { min, max };
    Schema {
        grammar: Grammar::Zbc,
        fields: vec![
            required("path", PATH),
            field("model", words(&["HA", "HM"])),
            field("lba", words(&["512", "4096"])),
            field("zsize", number(1, 1 << 20)),
            field("conv", number(0, u64::from(u32::MAX))),
            field("open", number(1, u64::from(u32::MAX))),
            field("format", FieldKind::Flag),
        ],
    }
}

/// tcmu-runner's fbo.
fn fbo() -> Schema {
    Schema {
        grammar: Grammar::Fbo,
        fields: vec![required("path", PATH), field("ro", FieldKind::Flag), field("speed", FieldKind::Text)],
    }
}

fn mirror() -> Schema {
    Schema {
        grammar: Grammar::Semicolon,
        fields: vec![
            required("store", STORE),
            field("copy", FieldKind::Path { read_only: true, create: false }),
            field("label", FieldKind::Text),
            field("depth", FieldKind::Number { min: 2, max: 64 }),
            field("lazy", FieldKind::Flag),
        ],
    }
}

/// Stores, then options, in one line each.
fn shown(schema: &Schema, text: &str) -> Result<String, OptionError> {
    let parsed = parse(schema, text)?;
    let stores = parsed.stores.iter().map(|store| {
        let StoreRequest { option, locator, read_only, create } = store;
        let read_only = if *read_only { " ro" } else { "" };
        let create = if *create { " new" } else { "" };
        format!("<{option}:{locator}{read_only}{create}>")
    });
    let options = parsed.options.iter().map(|(name, value)| format!("{name}:{value}"));
    Ok(stores.chain(options).collect::<Vec<_>>().join(" "))
}

fn refused(schema: &Schema, text: &str) -> String {
    parse(schema, text).expect_err(text).to_string()
}

#[test]
fn a_whole_text_is_one_value() {
    let schema = whole_text();
    assert_eq!(schema.check(), Ok(()));
    let whole = |text: &str| shown(&schema, text);
    assert_eq!(whole("/srv/a;b=c@d//e"), Ok("<:/srv/a;b=c@d//e new>".into()));
    assert_eq!(whole(""), Ok(String::new()));
    let error = whole("srv/a").unwrap_err();
    assert_eq!(error, OptionError::Relative { option: String::new(), value: "srv/a".into() });
    assert!(error.to_string().starts_with("the text after the subtype is \"srv/a\""), "{error}");
    assert!(whole("memory").is_err(), "a path, not any store");
    let number = Schema {
        grammar: Grammar::Whole,
        fields: vec![field("megabytes", FieldKind::Number { min: 1, max: 9 })],
    };
    assert_eq!(shown(&number, "007"), Ok("megabytes:7".into()));
}

#[test]
fn semicolons_divide() {
    let schema = mirror();
    assert_eq!(schema.check(), Ok(()));
    for (text, expected) in [
        ("/a", "<store:/a>"),
        ("memory", "<store:memory>"),
        ("rbd=p/i;lazy", "<store:rbd=p/i> lazy:true"),
        ("glfs=v@h/p;depth=2", "<store:glfs=v@h/p> depth:2"),
        // Options in the order of the text, stores in that of the schema: their place in it is their id.
        ("/a;depth=064;label=x=y@z;copy=/b", "<store:/a> <copy:/b ro> depth:64 label:x=y@z"),
        ("/a;label=", "<store:/a> label:"),
    ] {
        assert_eq!(shown(&schema, text), Ok(expected.into()), "{text}");
    }
}

#[test]
fn mistakes_with_semicolons_are_named_with_a_remedy() {
    let schema = mirror();
    for (text, parts) in [
        ("", &["option store is missing (help of store)", "first, in front of"][..]),
        (";lazy", &["option store is missing"]),
        ("/a;colour=red", &["no option \"colour\"", "there is: copy, label, depth, lazy"]),
        ("/a;Lazy", &["no option \"Lazy\""]),
        ("/a;lazy;lazy", &["option lazy is there twice"]),
        ("/a;depth=3;depth=3", &["option depth is there twice"]),
        ("/a;lazy=yes", &["takes no value", "\"lazy=yes\""]),
        ("/a;lazy=", &["takes no value"]),
        ("/a;depth", &["write depth=VALUE"]),
        ("/a;depth=", &["option depth is \"\"", "not a number", "from 2 to 64"]),
        ("/a;depth=+3", &["not a number"]),
        ("/a;depth= 3", &["not a number"]),
        ("/a;depth=1", &["option depth is 1,", "out of bounds", "from 2 to 64"]),
        ("/a;depth=65", &["out of bounds"]),
        ("/a;depth=99999999999999999999999", &["out of bounds"]),
        ("/a;copy=b", &["option copy is \"b\"", "absolute path"]),
        ("/a;copy=memory", &["absolute path"]),
        ("a", &["option store: \"a\" names no store", "rbd=pool/image"]),
        ("rbd=x", &["option store: \"rbd=x\"", "write rbd=pool/image"]),
        ("/a;", &["empty option", "';'"]),
        ("/a;;lazy", &["empty option"]),
        ("/a;=5", &["\"=5\" has no name"]),
        ("/a;store=/b", &["store is not written with its name"]),
        ("/a;lab", &["no option \"lab\""]),
        ("/a;labels=1", &["no option \"labels\""]),
    ] {
        let error = refused(&schema, text);
        assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn zbc_options_stand_before_the_path() {
    let schema = zbc();
    assert_eq!(schema.check(), Ok(()));
    for (text, expected) in [
        ("/var/zbc.raw", "<path:/var/zbc.raw new>"),
        ("/with@and-option/x@y", "<path:/with@and-option/x@y new>"),
        (
            "model-HM/lba-4096/zsize-64/conv-0/open-8@/var/z@1",
            "<path:/var/z@1 new> model:HM lba:4096 zsize:64 conv:0 open:8",
        ),
        ("format@/z", "<path:/z new> format:true"),
        ("open-8/model-HA@//z", "<path://z new> open:8 model:HA"),
    ] {
        assert_eq!(shown(&schema, text), Ok(expected.into()), "{text}");
    }
    for (text, parts) in [
        ("", &["option path is missing", "behind the @"][..]),
        ("model-HM@", &["option path is missing"]),
        ("model-HM", &["\"model-HM\"", "[option-value/...@]/path"]),
        ("model-HM/z", &["neither a path nor options"]),
        ("model-XX@/z", &["option model is \"XX\"", "one of HA, HM"]),
        ("Model-HM@/z", &["no option \"Model\"", "there is: model, lba"]),
        ("lba-513@/z", &["one of 512, 4096"]),
        ("zsize-0@/z", &["out of bounds"]),
        ("zsize@/z", &["write zsize-VALUE"]),
        ("zsize-1/zsize-1@/z", &["twice"]),
        ("-1@/z", &["\"-1\" has no name"]),
        ("@/z", &["empty option"]),
        ("conv-1/@/z", &["empty option"]),
        ("path-/x@/z", &["path is not written with its name", "behind the @"]),
        ("model-HM@z", &["option path is \"z\"", "absolute path"]),
        ("memory", &["neither a path"]),
    ] {
        let error = refused(&schema, text);
        assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
    }
}

#[test]
fn fbo_options_end_at_the_double_slash() {
    let schema = fbo();
    assert_eq!(schema.check(), Ok(()));
    for (text, expected) in [
        ("/srv/disc", "<path:/srv/disc new>"),
        ("//srv//disc", "<path://srv//disc new>"),
        ("ro//srv//disc", "<path:/srv//disc new> ro:true"),
        ("RO//srv", "<path:/srv new> ro:true"),
        ("speed-x8/Ro//srv", "<path:/srv new> speed:x8 ro:true"),
        ("ro///srv", "<path://srv new> ro:true"),
    ] {
        assert_eq!(shown(&schema, text), Ok(expected.into()), "{text}");
    }
    for (text, parts) in [
        ("", &["option path is missing", "behind the options"][..]),
        ("ro", &["\"ro\"", "[option/...]//path"]),
        ("ro/srv", &["neither a path"]),
        ("rw//srv", &["no option \"rw\"", "there is: ro, speed"]),
        ("ro/ro//srv", &["twice"]),
        ("ro-1//srv", &["takes no value"]),
    ] {
        let error = refused(&schema, text);
        assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
    }
}

#[test]
fn other_stores_than_files_need_no_options_before_them() {
    for grammar in [Grammar::Zbc, Grammar::Fbo] {
        let schema = Schema { grammar, fields: vec![required("store", STORE), field("x", FieldKind::Text)] };
        for text in ["memory", "rbd=p/i@snap", "glfs=v@h/p"] {
            assert_eq!(shown(&schema, text), Ok(format!("<store:{text}>")), "{grammar:?}");
        }
    }
    let schema =
        Schema { grammar: Grammar::Zbc, fields: vec![required("store", STORE), field("x", FieldKind::Text)] };
    assert_eq!(shown(&schema, "x-1@glfs=v@h/p"), Ok("<store:glfs=v@h/p> x:1".into()));
    assert_eq!(shown(&schema, "x-1@memory"), Ok("<store:memory> x:1".into()));
}

#[test]
fn of_two_names_that_fit_the_longer_one_is_meant() {
    let number = FieldKind::Number { min: 0, max: 9 };
    let schema = Schema {
        grammar: Grammar::Zbc,
        fields: vec![
            required("path", PATH),
            field("a", FieldKind::Text),
            field("a-b", number),
            field("a-c", FieldKind::Flag),
        ],
    };
    assert_eq!(shown(&schema, "a-b-3/a-c/a-d@/z"), Ok("<path:/z new> a-b:3 a-c:true a:d".into()));
}

#[test]
fn what_is_required_is_asked_for_in_the_words_of_the_grammar() {
    for (grammar, text, remedy) in [
        (Grammar::Semicolon, "/a", ["add ;size=VALUE", "add ;force"]),
        (Grammar::Zbc, "/a", ["put size-VALUE/ in front", "put force/ in front"]),
        (Grammar::Fbo, "/a", ["put size-VALUE/ in front", "put force/ in front"]),
    ] {
        for (kind, remedy) in [FieldKind::Text, FieldKind::Flag].into_iter().zip(remedy) {
            let name = if kind == FieldKind::Flag { "force" } else { "size" };
            let schema = Schema { grammar, fields: vec![required("path", PATH), required(name, kind)] };
            let error = refused(&schema, text);
            assert!(
                error.contains(&format!("option {name} is missing")) && error.ends_with(remedy),
                "{error}"
            );
        }
    }
}

#[test]
fn a_text_has_a_length_that_the_kernel_keeps() {
    let text = format!("/{}", "x".repeat(254));
    assert_eq!(text.len(), MAX_TEXT);
    parse(&whole_text(), &text).unwrap();
    assert_eq!(parse(&whole_text(), &format!("{text}x")), Err(OptionError::TooLong { bytes: 256 }));
    assert_eq!(parse(&whole_text(), "/a\0b"), Err(OptionError::Nul));
}

#[test]
fn access_follows_the_schema() {
    let request = |read_only, create| {
        StoreRequest { option: String::new(), locator: Locator::Memory, read_only, create }.access()
    };
    assert_eq!(request(false, false), Access::Existing);
    assert_eq!(request(false, true), Access::Create);
    assert_eq!(request(true, false), Access::ReadOnly);
    assert_eq!(request(true, true), Access::ReadOnly, "what is only read is not made");
}

fn any_kind() -> impl Strategy<Value = FieldKind> {
    prop_oneof![
        any::<(bool, bool)>().prop_map(|(read_only, create)| FieldKind::Path { read_only, create }),
        any::<(bool, bool)>().prop_map(|(read_only, create)| FieldKind::Store { read_only, create }),
        any::<(u64, u64)>().prop_map(|(min, max)| FieldKind::Number { min, max }),
        proptest::collection::vec("[a-zä]{0,3}", 0..4).prop_map(FieldKind::Choice),
        Just(FieldKind::Text),
        Just(FieldKind::Flag),
    ]
}

/// Not only schemas that pass the check.
fn any_schema() -> impl Strategy<Value = Schema> {
    let grammar =
        prop_oneof![Just(Grammar::Whole), Just(Grammar::Semicolon), Just(Grammar::Zbc), Just(Grammar::Fbo)];
    let fields = ("[a-c-=;ä]{0,3}", any_kind(), any::<bool>()).prop_map(|(name, kind, required)| Field {
        name,
        kind,
        required,
        help: String::new(),
    });
    (grammar, proptest::collection::vec(fields, 0..5))
        .prop_map(|(grammar, fields)| Schema { grammar, fields })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Whatever is granted stands in the text as a whole, so nothing is granted that nobody wrote.
    #[test]
    fn any_text_is_taken_apart_or_refused(schema in any_schema(), text in "[a-c/@;=\\-0ä]{0,24}|.{0,80}") {
        match parse(&schema, &text) {
            Ok(parsed) => {
                prop_assert!(parsed.stores.len() + parsed.options.len() <= schema.fields.len());
                for store in &parsed.stores {
                    prop_assert!(text.contains(&store.locator.to_string()), "{store:?}");
                    prop_assert!(schema.fields.iter().any(|field| field.name == store.option));
                }
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    /// A text that is put together from values gives these values.
    #[test]
    fn what_was_written_is_what_is_read(
        path in "/[a-z@/;=-]{0,20}",
        zone in proptest::option::of(1_u64..1 << 20),
        model in proptest::option::of("HA|HM"),
        format in any::<bool>(),
    ) {
        let mut options = Vec::new();
        options.extend(zone.map(|zone| format!("zsize-{zone}")));
        options.extend(model.as_ref().map(|model| format!("model-{model}")));
        options.extend(format.then(|| "format".to_owned()));
        let text = if options.is_empty() { path.clone() } else { format!("{}@{path}", options.join("/")) };
        let parsed = parse(&zbc(), &text).unwrap();
        let mut expected = Vec::new();
        expected.extend(zone.map(|zone| ("zsize".to_owned(), zone.to_string())));
        expected.extend(model.map(|model| ("model".to_owned(), model)));
        expected.extend(format.then(|| ("format".to_owned(), "true".to_owned())));
        prop_assert_eq!(parsed.options, expected);
        prop_assert_eq!(&parsed.stores[0].locator, &Locator::Path(path));
    }
}
