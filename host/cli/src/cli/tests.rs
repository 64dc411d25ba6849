use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from([&["lunbox"], arguments].concat())
}

fn serve(arguments: &[&str]) -> Result<Serve, clap::Error> {
    match parse(&[&["serve"], arguments].concat())?.command {
        Command::Serve(serve) => Ok(*serve),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

/// Judges the help of all commands below one.
fn helps(command: &mut clap::Command) {
    for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
        let help = sub.render_long_help().to_string();
        for argument in sub.get_arguments() {
            if let Some(long) = argument.get_long() {
                assert!(help.contains(&format!("--{long}")), "{}: {long}", sub.get_name());
            }
            assert!(argument.get_help().is_some(), "{}: {} has no help", sub.get_name(), argument.get_id());
        }
        assert!(help.contains("Examples:\n  lunbox "), "{help}");
        assert!(help.contains("Exit status:\n  0\n"), "{help}");
        assert!(sub.get_about().is_some(), "{}", sub.get_name());
        helps(sub);
    }
}

#[test]
fn every_help_names_every_option_with_examples_and_exit_statuses() {
    let mut command = Cli::command();
    command.build();
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in [
        "serve",
        "inspect",
        "handlers",
        "status",
        "device",
        "worker",
        "events",
        "top",
        "trace",
        "doctor",
        "handover",
        "policy",
        "completions",
        "man",
    ] {
        assert!(names.iter().any(|found| found == name), "{name}");
    }
    helps(&mut command);
    let help = command.find_subcommand_mut("serve").unwrap().render_long_help().to_string();
    assert!(help.contains("Persistent reservations"), "the long description: {help}");
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for fact in ["Any address but loopback", "becomes that long at once", "logged to stderr stays text"] {
        assert!(words.contains(fact), "{fact}: {help}");
    }
    let help = Cli::command().render_long_help().to_string();
    assert!(ENVIRONMENT.iter().all(|(name, _)| help.contains(name)), "{help}");
    assert!(
        help.contains("--json") && help.contains("--log-level") && help.contains("Exit status:"),
        "{help}"
    );
}

#[test]
fn every_example_can_be_parsed() {
    for (command, line, meaning) in EXAMPLES {
        assert!(!meaning.is_empty());
        // What a shell would do with the rest of the line is none of our business.
        let own = line.split(['|', '>']).next().unwrap_or_default();
        let parsed = Cli::try_parse_from(own.split_whitespace());
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        assert!(own.contains(command), "{line} is no example of {command}");
    }
}

#[test]
fn defaults() {
    let options = serve(&["file//tmp/x"]).unwrap();
    assert_eq!(options.listen.to_string(), "127.0.0.1:3260");
    assert_eq!(options.block_size.bytes(), 512);
    assert!(
        options.size.is_empty() && !options.read_only && !options.tmr && options.status_interval.is_none()
    );
    assert!(!parse(&["handlers"]).unwrap().common.json);
}

#[test]
fn lists_and_values() {
    let options = serve(&["file//a", "file//b", "--size", "1G,2G", "--handler-path", "/x:/y"]).unwrap();
    assert_eq!(options.size.iter().map(|size| size.bytes()).collect::<Vec<_>>(), [1 << 30, 2 << 30]);
    assert_eq!(options.search.handler_path, [PathBuf::from("/x"), PathBuf::from("/y")]);
    let options =
        serve(&["a/", "--size=1M", "--size=2M", "--status-interval", "0.5", "--listen", "[::1]:0"]).unwrap();
    assert_eq!(options.size.len(), 2);
    assert_eq!(options.status_interval, Some(Duration::from_millis(500)));
    assert!(options.listen.is_ipv6());
    assert!(parse(&["serve", "a/b", "--json"]).unwrap().common.json);
    assert!(parse(&["--json", "serve", "a/b"]).unwrap().common.json);
}

#[test]
fn what_is_not_understood_is_refused_with_a_remedy() {
    let refused = |arguments: &[&str]| serve(arguments).unwrap_err();
    assert_eq!(refused(&[]).kind(), ErrorKind::MissingRequiredArgument);
    for (arguments, remedy) in [
        (&["a/b", "--size", "1GB"][..], "1000s or 1024s"),
        (&["a/b", "--size", "0"], "at least one block"),
        (&["a/b", "--listen", "3260"], "--listen"),
        (&["a/b", "--status-interval", "0"], "0.1"),
        (&["a/b", "--status-interval", "NaN"], "0.1"),
        (&["a/b", "--name", "disk"], "iqn."),
        (&["file"], "SUBTYPE/CONFIG"),
        (&["/tmp/x"], "file//tmp/x"),
    ] {
        let error = refused(arguments);
        assert_eq!(error.kind(), ErrorKind::ValueValidation, "{arguments:?}");
        assert!(error.to_string().contains(remedy), "{error}");
    }
    let error = refused(&["a/b", "--chap-secret-file", "x"]);
    assert!(error.to_string().contains("--chap-user"), "{error}");
    assert_eq!(parse(&["no-such-command"]).unwrap_err().kind(), ErrorKind::InvalidSubcommand);
    assert_eq!(parse(&["-V"]).unwrap_err().kind(), ErrorKind::DisplayVersion);
}

#[test]
fn operators_commands() {
    let Command::Device(Device { command: DeviceCommand::Show(show) }) =
        parse(&["device", "show", "disk", "--socket", "/x"]).unwrap().command
    else {
        panic!("another command")
    };
    assert_eq!((show.name.as_str(), show.daemon.socket.to_str()), ("disk", Some("/x")));
    let Command::Policy(Policy { command: PolicyCommand::Check(check) }) =
        parse(&["policy", "check", "--device", "3/a=file//x", "--device", "user_4/b=zbc//y"])
            .unwrap()
            .command
    else {
        panic!("another command")
    };
    assert_eq!(check.file, PathBuf::from("/etc/lunbox/policy.toml"));
    assert_eq!(check.device.iter().map(|device| device.hba).collect::<Vec<_>>(), [3, 4]);
    for (arguments, kind) in [
        (&["device"][..], ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        (&["device", "show"], ErrorKind::MissingRequiredArgument),
        (&["device", "stop", "x"], ErrorKind::InvalidSubcommand),
        (&["status", "x"], ErrorKind::UnknownArgument),
        (&["policy", "check", "--device", "disk"], ErrorKind::ValueValidation),
    ] {
        assert_eq!(parse(arguments).unwrap_err().kind(), kind, "{arguments:?}");
    }
}
