//! What the bus shows: objects, names, arguments, signals.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

mod common;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;

use common::{Daemon, MANAGER, PrivateBus, ROOT, announced, introspect, managed, subtypes};
use futures_core::Stream;
use lunbox_bus::NAME;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedVariant, Variant};

/// Interfaces of one object, each with its members as one line; and its children.
#[derive(Debug, Default, PartialEq, Eq)]
struct Node {
    interfaces: BTreeMap<String, Vec<String>>,
    children: Vec<String>,
}

/// Reads introspection XML as far as tools do: tags and their attributes.
fn read(xml: &str) -> Node {
    let (mut node, mut depth, mut interface) = (Node::default(), 0, String::new());
    for tag in xml.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        let attribute = |name: &str| {
            let value =
                tag.split_once(&format!(" {name}=\"")).map(|(_, rest)| rest.split('"').next().unwrap());
            value.unwrap_or("").to_owned()
        };
        let name = attribute("name");
        match tag.split([' ', '/']).next().unwrap() {
            "node" => {
                if depth == 1 {
                    node.children.push(name);
                }
                depth += u32::from(!tag.ends_with('/'));
            }
            "" if tag == "/node" => depth -= 1,
            "interface" if depth == 1 => {
                node.interfaces.insert(name.clone(), Vec::new());
                interface = name;
            }
            kind @ ("method" | "signal" | "property") if depth == 1 => {
                let line = format!("{kind} {name} {} {}", attribute("type"), attribute("access"));
                node.interfaces.get_mut(&interface).unwrap().push(line.trim().to_owned());
            }
            "arg" if depth == 1 => {
                let line = format!(" {}:{name}:{}", attribute("direction"), attribute("type"));
                node.interfaces.get_mut(&interface).unwrap().last_mut().unwrap().push_str(&line);
            }
            _ => {}
        }
    }
    for members in node.interfaces.values_mut() {
        members.sort();
    }
    node.children.sort();
    node
}

/// DB-2, DB-3, DB-4, DB-14: as recorded from tcmu-runner 1.5.4 (GDBus).
#[test]
fn names_and_arguments_are_tcmu_runners() {
    let bus = PrivateBus::new();
    let _service = bus.serve(&Daemon::new(), &["file", "zbc"]);
    zbus::block_on(async {
        let client = bus.client().await;
        for (path, child) in [("/", "org"), ("/org", "kernel"), ("/org/kernel", "TCMUService1")] {
            assert_eq!(read(&introspect(&client, path).await).children, [child]);
        }
        let root = read(&introspect(&client, ROOT).await);
        assert_eq!(root.children, ["HandlerManager1", "file", "zbc"]);
        assert_eq!(
            root.interfaces["org.freedesktop.DBus.ObjectManager"],
            [
                "method GetManagedObjects out:object_paths_interfaces_and_properties:a{oa{sa{sv}}}",
                "signal InterfacesAdded :object_path:o :interfaces_and_properties:a{sa{sv}}",
                "signal InterfacesRemoved :object_path:o :interfaces:as",
            ]
        );
        let handler = read(&introspect(&client, &format!("{ROOT}/file")).await);
        assert_eq!(
            handler.interfaces[NAME],
            ["method CheckConfig in:configstr:s out:is_valid:b out:message:s", "property ConfigDesc s read",]
        );
        let manager = read(&introspect(&client, MANAGER).await);
        assert_eq!(
            manager.interfaces["org.kernel.TCMUService1.HandlerManager1"],
            ["method RegisterHandler in:subtype:s in:cfgstr_desc:s out:succeeded:b out:message:s"]
        );
        let standard =
            ["Introspectable", "Peer", "Properties"].map(|name| format!("org.freedesktop.DBus.{name}"));
        for (node, own) in [
            (root, "org.freedesktop.DBus.ObjectManager"),
            (handler, NAME),
            (manager, "org.kernel.TCMUService1.HandlerManager1"),
        ] {
            let mut expected = standard.to_vec();
            expected.push(own.to_owned());
            expected.sort();
            assert_eq!(node.interfaces.into_keys().collect::<Vec<_>>(), expected);
        }
    });
}

/// DB-2, DB-4, INT-1: targetcli takes every object for a handler.
#[test]
fn the_object_manager_lists_exactly_the_subtypes_with_their_help() {
    let bus = PrivateBus::new();
    let service = bus.serve(&Daemon::new(), &["file", "zbc", "not-a-path-element"]);
    zbus::block_on(async {
        let client = bus.client().await;
        let found = subtypes(&client).await;
        assert_eq!(found.keys().collect::<Vec<_>>(), ["file", "zbc"]);
        assert_eq!(found["file"], "Help on file.\nTwo lines.");
        service.set_handlers(Vec::new());
        until_none(&client).await;
    });
}

async fn until_none(client: &Connection) {
    let until = std::time::Instant::now() + common::TIME;
    while !managed(client).await.unwrap().is_empty() {
        assert!(std::time::Instant::now() < until);
    }
}

async fn next(signals: &mut MessageStream) -> Message {
    poll_fn(|context| Pin::new(&mut *signals).poll_next(context)).await.unwrap().unwrap()
}

/// DB-13, and "handlers appearing or vanishing": these signals and no others.
#[test]
fn changes_are_signalled_by_the_object_manager_alone() {
    let bus = PrivateBus::new();
    let service = bus.serve(&Daemon::new(), &["file", "zbc"]);
    zbus::block_on(async {
        let client = bus.client().await;
        let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal).sender(NAME).build().unwrap();
        let mut signals = MessageStream::for_match_rule(rule, &client, None).await.unwrap();
        service.set_handlers(announced(&["file", "zbc"]));
        service.set_handlers(announced(&["file", "qcow"]));
        let gone = next(&mut signals).await;
        assert_eq!(gone.header().member().unwrap().as_str(), "InterfacesRemoved");
        assert_eq!(gone.header().path().unwrap().as_str(), ROOT);
        let body = gone.body();
        let (path, interfaces): (zbus::ObjectPath<'_>, Vec<&str>) = body.deserialize().unwrap();
        assert_eq!((path.as_str(), interfaces), ("/org/kernel/TCMUService1/zbc", vec![NAME]));
        let new = next(&mut signals).await;
        assert_eq!(new.header().member().unwrap().as_str(), "InterfacesAdded");
        let body = new.body();
        let (path, mut interfaces): (
            zbus::ObjectPath<'_>,
            std::collections::HashMap<&str, std::collections::HashMap<&str, OwnedVariant>>,
        ) = body.deserialize().unwrap();
        assert_eq!(path.as_str(), "/org/kernel/TCMUService1/qcow");
        let help = interfaces.remove(NAME).unwrap().remove("ConfigDesc").unwrap();
        assert_eq!(String::try_from(help).unwrap(), "Help on qcow.\nTwo lines.");
        assert!(interfaces.is_empty());
        // The old object is gone, the new one answers.
        assert!(common::check(&client, "zbc", "zbc/x").await.is_err());
        assert_eq!(common::check(&client, "qcow", "qcow/x").await.unwrap(), (true, "success".to_owned()));
        assert_eq!(subtypes(&client).await.into_keys().collect::<Vec<_>>(), ["file", "qcow"]);
        // Nothing else was signalled until the next change.
        service.set_handlers(Vec::new());
        for path in ["/org/kernel/TCMUService1/file", "/org/kernel/TCMUService1/qcow"] {
            let gone = next(&mut signals).await;
            assert_eq!(gone.header().member().unwrap().as_str(), "InterfacesRemoved", "{gone:?}");
            let body = gone.body();
            let (gone, _): (zbus::ObjectPath<'_>, Vec<&str>) = body.deserialize().unwrap();
            assert_eq!(gone.as_str(), path);
        }
    });
}

/// DB-3: the property, and that nobody can change it.
#[test]
fn the_help_text_is_a_property_that_can_only_be_read() {
    let bus = PrivateBus::new();
    let _service = bus.serve(&Daemon::new(), &["file"]);
    zbus::block_on(async {
        let client = bus.client().await;
        let properties = Some("org.freedesktop.DBus.Properties");
        let path = "/org/kernel/TCMUService1/file";
        let reply =
            client.call_method(Some(NAME), path, properties, "Get", &(NAME, "ConfigDesc")).await.unwrap();
        let value: OwnedVariant = reply.body().deserialize().unwrap();
        assert_eq!(String::try_from(value).unwrap(), "Help on file.\nTwo lines.");
        let set = (NAME, "ConfigDesc", Variant::from("x"));
        let error = client.call_method(Some(NAME), path, properties, "Set", &set).await.unwrap_err();
        assert!(error.to_string().contains("ConfigDesc"), "{error}");
        assert_eq!(subtypes(&client).await["file"], "Help on file.\nTwo lines.");
        let all = client.call_method(Some(NAME), path, properties, "GetAll", &NAME).await.unwrap();
        let all: std::collections::HashMap<String, OwnedVariant> = all.body().deserialize().unwrap();
        assert_eq!(all.into_keys().collect::<Vec<_>>(), ["ConfigDesc"]);
    });
}
