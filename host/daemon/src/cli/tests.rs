use super::*;
use clap::error::ErrorKind;

fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
    match role([&["lunboxd"], arguments].concat().into_iter().map(OsString::from))? {
        Role::Supervisor(cli) => Ok(cli),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_sound_and_the_help_tells_what_it_promises() {
    Cli::command().debug_assert();
    let help = Cli::command().render_long_help().to_string();
    for option in [
        "--config",
        "--handler-path",
        "--cache-dir",
        "--log-level",
        "--tcmu-log-dir",
        "--nofile",
        "--debug",
        "--check",
        "--list-handlers",
        "--version",
        "--policy",
        "--run-dir",
        "--single-process",
    ] {
        assert!(help.contains(option), "{option}");
    }
    assert!(help.contains("Examples:") && help.contains("Exit status:") && help.contains("TCMU_LOGDIR"));
    assert!(help.contains("0 critical, 1 errors") && help.contains("attrib/cmd_time_out"));
}

#[test]
fn defaults_and_levels() {
    let cli = parse(&[]).unwrap();
    assert_eq!(cli.config, PathBuf::from("/etc/tcmu/tcmu.conf"));
    assert_eq!(cli.handler_path, PathBuf::from("/usr/lib/lunbox/handlers"));
    assert_eq!(cli.cache_dir, PathBuf::from("/var/cache/lunbox"));
    assert_eq!((cli.level(), cli.tcmu_log_dir, cli.nofile), (None, None, None));
    for number in 0..=5 {
        let cli = parse(&["--log-level", &number.to_string()]).unwrap();
        assert_eq!(cli.level().map(Level::number), Some(number));
    }
}

#[test]
fn cli_1_long_options_can_be_abbreviated_and_short_ones_have_their_values_attached() {
    assert!(parse(&["--deb"]).unwrap().debug);
    assert_eq!(parse(&["--handler=/h"]).unwrap().handler_path, PathBuf::from("/h"));
    assert_eq!(parse(&["--tcmu", "/l"]).unwrap().tcmu_log_dir, Some(PathBuf::from("/l")));
    assert_eq!(parse(&["--nof", "65536"]).unwrap().nofile, Some(65536));
    assert_eq!(parse(&["-f65536", "-l/l", "-d"]).unwrap().tcmu_log_dir, Some(PathBuf::from("/l")));
    assert_eq!(parse(&["--he"]).unwrap_err().kind(), ErrorKind::DisplayHelp);
    assert_eq!(parse(&["--vers"]).unwrap_err().kind(), ErrorKind::DisplayVersion);
    // Two begin like this.
    assert!(parse(&["--l"]).unwrap_err().use_stderr());
    // Of the same option the later counts.
    assert!(parse(&["-d", "-d"]).unwrap().debug);
    assert_eq!(parse(&["-l", "/a", "-l", "/b"]).unwrap().tcmu_log_dir, Some(PathBuf::from("/b")));
}

#[test]
fn cli_2_debug_is_the_highest_level() {
    assert_eq!(parse(&["-d"]).unwrap().level(), Some(Level::TRACE));
    assert_eq!(parse(&["--debug"]).unwrap().level(), Some(Level::TRACE));
}

#[test]
fn cli_4_a_directory_is_cut_where_no_path_can_be_longer() {
    let long = format!("/{}", "x".repeat(5000));
    let cut = parse(&["-l", &long]).unwrap().tcmu_log_dir.unwrap();
    assert_eq!(cut.as_os_str().len(), lunbox_conf::MAX_PATH);
}

#[test]
fn cli_5_the_number_of_open_files_has_a_range() {
    for (text, number) in [("65536", 65536), ("1048576", 1_048_576), (" 70000x", 70000), ("+70000", 70000)] {
        assert_eq!(parse(&["-f", text]).unwrap().nofile, Some(number), "{text}");
    }
    for text in ["65535", "1048577", "0", "-1", "-70000", "many", "", "99999999999999999999999"] {
        let error = parse(&["--nofile", text]).unwrap_err();
        assert!(error.use_stderr(), "{text}");
        assert!(error.to_string().contains("must be from 65536 to 1048576"), "{text}: {error}");
    }
}

#[test]
fn cli_7_the_last_word_of_the_version_is_that_of_tcmu_runner() {
    let version = |name: &str| {
        let error = role([name, "-V"].map(OsString::from)).unwrap_err();
        assert!(!error.use_stderr(), "it goes to stdout");
        error.to_string()
    };
    assert_eq!(version("lunboxd"), "lunboxd 0.1.0, compatible with tcmu-runner 1.6.2\n");
    assert_eq!(version("/usr/bin/lunboxd-0.2"), "lunboxd 0.1.0, compatible with tcmu-runner 1.6.2\n");
    assert_eq!(version("tcmu-runner"), "tcmu-runner 1.6.2\n");
    assert_eq!(version("/usr/bin/tcmu-runner"), "tcmu-runner 1.6.2\n");
}

#[test]
fn the_daemons_own_children_are_not_offered_to_anybody() {
    let help = Cli::command().render_long_help().to_string();
    assert!(!help.contains("compile ") && !help.contains("--tenant"), "{help}");
    let role = |line: &str| role(line.split(' ').map(OsString::from));
    let worker = role("lunboxd worker --tenant a.uio3 --build 1 --level info --user 7:8 --required").unwrap();
    let Role::Worker(worker) = worker else { panic!("{worker:?}") };
    assert_eq!((worker.tenant.as_str(), worker.build.as_str()), ("a.uio3", "1"));
    assert_eq!((worker.user, worker.required, worker.level), (Some((7, 8)), true, Level::INFO));
    let compiler = role("lunboxd compile --level warn").unwrap();
    assert!(matches!(compiler, Role::Compiler(ChildCli { required: false, .. })));
    let compiler = role("lunboxd compile --level crit --required").unwrap();
    assert!(matches!(compiler, Role::Compiler(ChildCli { required: true, level: Level::CRIT })));
    assert!(matches!(role("lunboxd check --level info").unwrap(), Role::Checker(_)));
    assert!(matches!(role("lunboxd --check").unwrap(), Role::Supervisor(Cli { check: true, .. })));
    assert!(matches!(role("lunboxd -d").unwrap(), Role::Supervisor(_)));
    assert!(role("lunboxd worker").is_err());
    assert!(role("lunboxd worker --tenant a --build 1 --level info --user root").is_err());
}

#[test]
fn cli_8_what_is_not_understood_is_refused() {
    assert_eq!(parse(&["--log-level", "6"]).unwrap_err().kind(), ErrorKind::ValueValidation);
    assert_eq!(parse(&["--no-such-option"]).unwrap_err().kind(), ErrorKind::UnknownArgument);
    assert_eq!(parse(&["-x"]).unwrap_err().kind(), ErrorKind::UnknownArgument);
    assert_eq!(parse(&["stray"]).unwrap_err().kind(), ErrorKind::UnknownArgument);
    assert_eq!(parse(&["-d", "--log-level", "1"]).unwrap_err().kind(), ErrorKind::ArgumentConflict);
    assert_eq!(parse(&["--check", "--list-handlers"]).unwrap_err().kind(), ErrorKind::ArgumentConflict);
    assert_eq!(parse(&["-V"]).unwrap_err().kind(), ErrorKind::DisplayVersion);
    assert_eq!(parse(&["-h"]).unwrap_err().kind(), ErrorKind::DisplayHelp);
}
