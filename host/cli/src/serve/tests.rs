use super::*;
use clap::Parser;

use crate::cli::{Cli, Command};

fn options(arguments: &[&str]) -> Serve {
    match Cli::try_parse_from([&["lunbox", "serve"], arguments].concat()).unwrap().command {
        Command::Serve(serve) => *serve,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_size_is_for_all_and_several_are_in_order() {
    let sizes = |arguments: &[&str]| -> Result<Vec<Option<u64>>, String> {
        let options = options(arguments);
        let wanted = wanted(&options).map_err(|error| error.to_string())?;
        assert!(wanted.iter().enumerate().all(|(number, lun)| lun.number == number));
        Ok(wanted.iter().map(|lun| lun.size.map(crate::size::Size::bytes)).collect())
    };
    assert_eq!(sizes(&["a/1", "a/2"]), Ok(vec![None, None]));
    assert_eq!(sizes(&["a/1", "a/2", "--size", "1K"]), Ok(vec![Some(1024); 2]));
    assert_eq!(sizes(&["a/1", "a/2", "--size", "1K", "--size", "2K"]), Ok(vec![Some(1024), Some(2048)]));
    assert!(sizes(&["a/1", "--size", "1K,2K"]).unwrap_err().contains("--size was given 2 times for 1 LUNs"));
    let error = sizes(&["a/1", "--block-size", "8M"]).unwrap_err();
    assert!(error.contains("--block-size 8M"), "{error}");
}

#[test]
fn a_target_has_256_luns_at_most() {
    let many = vec!["null/"; 257];
    assert!(wanted(&options(&many)).unwrap_err().to_string().contains("at most 256"));
    assert_eq!(wanted(&options(&many[1..])).unwrap().len(), 256);
}

#[test]
fn compiled_handlers_are_kept_where_caches_belong() {
    let path = |text: &str| Some(PathBuf::from(text));
    assert_eq!(default_cache(true, path("/x"), path("/root")), path("/var/cache/lunbox"));
    assert_eq!(default_cache(false, path("/x"), path("/home/me")), path("/x/lunbox"));
    assert_eq!(default_cache(false, path("x"), path("/home/me")), path("/home/me/.cache/lunbox"));
    assert_eq!(default_cache(false, None, path("/home/me")), path("/home/me/.cache/lunbox"));
    assert_eq!(default_cache(false, None, None), None);
    assert_eq!(cache(&options(&["a/", "--cache-dir", "/y"])), path("/y"));
}

#[test]
fn only_loopback_needs_no_chap() {
    for address in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
        assert!(is_loopback(address.parse().unwrap()), "{address}");
    }
    for address in ["0.0.0.0", "192.0.2.1", "::", "::ffff:192.0.2.1", "2001:db8::1"] {
        assert!(!is_loopback(address.parse().unwrap()), "{address}");
    }
}

#[test]
fn files_that_stay_are_named_when_the_start_fails() {
    let failed = || -> anyhow::Result<()> { Err(anyhow::anyhow!("no").context("LUN 1")) };
    let text = failed().with_context_of(&["/a".to_owned(), "/b".to_owned()]).unwrap_err().to_string();
    assert_eq!(text, "LUN 1: no (made before that, without data, and still there: /a, /b)");
    assert_eq!(failed().with_context_of(&[]).unwrap_err().to_string(), "LUN 1");
    assert!(Ok(()).with_context_of(&["/a".to_owned()]).is_ok());
}

#[test]
fn the_shape_of_json() {
    let facts = Facts {
        lun: 0,
        url: "iscsi://127.0.0.1:3260/iqn.2026-11.org.lunbox:x/0".to_owned(),
        config: "file//x".to_owned(),
        size: 1024,
        block_size: 512,
        read_only: true,
        subtype: "file".to_owned(),
        handler: "File".to_owned(),
        handler_version: "0.1.0".to_owned(),
        handler_path: "/h".into(),
        serial: "00".to_owned(),
        created: false,
    };
    let announcement = Announcement {
        address: "127.0.0.1:3260".to_owned(),
        target: "iqn.2026-11.org.lunbox:x",
        luns: vec![&facts],
    };
    let json = serde_json::to_value(&announcement).unwrap();
    assert_eq!(json["address"], "127.0.0.1:3260");
    assert_eq!(json["target"], "iqn.2026-11.org.lunbox:x");
    let lun = &json["luns"][0];
    for (key, value) in [
        ("lun", serde_json::json!(0)),
        ("config", serde_json::json!("file//x")),
        ("size", serde_json::json!(1024)),
        ("block_size", serde_json::json!(512)),
        ("read_only", serde_json::json!(true)),
        ("handler", serde_json::json!("File")),
        ("subtype", serde_json::json!("file")),
    ] {
        assert_eq!(lun[key], value, "{key}");
    }
    assert!(lun["url"].as_str().unwrap().starts_with("iscsi://"));
}
