//! What `--check` prints: whether the daemon would start with this configuration, and what an operator should know.

use std::io::{self, Write};
use std::path::Path;

use lunbox_policy::Policy;

use crate::cli::Cli;
use crate::handlers::Handlers;
use crate::settings::{Base, Settings};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// Nothing is wrong.
    Fine,
    /// Something to know.
    Remark,
    /// Something that does not work.
    Problem,
}

impl Weight {
    const fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Remark => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What was found, in order.
#[derive(Debug, Default)]
pub struct Findings(Vec<(Weight, String)>);

impl Findings {
    fn fine(&mut self, text: impl Into<String>) {
        self.0.push((Weight::Fine, text.into()));
    }

    fn remark(&mut self, text: impl Into<String>) {
        self.0.push((Weight::Remark, text.into()));
    }

    fn problem(&mut self, text: impl Into<String>) {
        self.0.push((Weight::Problem, text.into()));
    }

    /// Something does not work.
    pub fn has_problems(&self) -> bool {
        self.0.iter().any(|(weight, _)| *weight == Weight::Problem)
    }

    /// Writes a line for each.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        for (weight, text) in &self.0 {
            writeln!(out, "{}: {text}", weight.word())?;
        }
        Ok(())
    }
}

/// Looks at everything that a start would look at before it touches the system; starts nothing and writes nothing.
/// `handlers` loads the handlers, which takes as long as compiling them.
pub fn look(cli: &Cli, base: &Base, handlers: impl FnOnce() -> anyhow::Result<Handlers>) -> Findings {
    let mut findings = Findings::default();
    let settings = configuration(cli, base, &mut findings);
    if let Some(settings) = settings {
        details(&settings, &mut findings);
    }
    policy(cli, &mut findings);
    match handlers() {
        Ok(handlers) => {
            for (path, why) in handlers.refused() {
                findings.problem(format!("handler {}: {why}", path.display()));
            }
            let directory = cli.handler_path.display();
            if handlers.iter().next().is_none() {
                findings.remark(format!("{directory}: no handlers; every device will be refused"));
            } else {
                findings.fine(format!("{directory}: handlers for {}", handlers.subtypes()));
            }
        }
        Err(error) => findings.problem(format!("{}: {error:#}", cli.handler_path.display())),
    }
    findings
}

fn configuration(cli: &Cli, base: &Base, findings: &mut Findings) -> Option<Settings> {
    let path = cli.config.display();
    match lunbox_conf::load(&cli.config) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                let text = format!("{path}: {warning}");
                if loaded.missing { findings.remark(text) } else { findings.problem(text) }
            }
            Some(base.under(&loaded.conf))
        }
        Err(error) => {
            findings.problem(error.to_string());
            None
        }
    }
}

fn details(settings: &Settings, findings: &mut Findings) {
    findings.fine(format!(
        "log level {}, log file {}",
        settings.level.token(),
        settings.log_file().display()
    ));
    // What is missing is made; what is no directory stays in the way.
    let there = settings.log_directory.ancestors().find(|place| place.exists());
    if there.is_some_and(|place| !place.is_dir()) {
        let place = there.unwrap_or(Path::new("/")).display();
        findings.problem(format!("log_dir: {place} is not a directory; name another"));
    }
    if let Some(address) = &settings.metrics {
        match address.parse::<lunbox_metrics::Address>() {
            Ok(address) => findings.fine(format!("metrics at {address}")),
            Err(error) => findings.problem(error.to_string()),
        }
    }
}

fn policy(cli: &Cli, findings: &mut Findings) {
    match Policy::load(&cli.policy) {
        Ok(policy) => {
            for warning in policy.warnings() {
                findings.remark(warning.to_string());
            }
            let count = policy.tenants().count();
            findings.fine(format!("policy: {count} {}", if count == 1 { "tenant" } else { "tenants" }));
        }
        Err(error) => findings.problem(format!("policy: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Role, role};
    use std::ffi::OsString;
    use std::fs;

    fn found(root: &Path, conf: &str, handlers: impl FnOnce() -> anyhow::Result<Handlers>) -> (bool, String) {
        let file = root.join("tcmu.conf");
        fs::write(&file, conf).unwrap();
        let arguments = [
            OsString::from("lunboxd"),
            "--config".into(),
            file.into(),
            "--handler-path".into(),
            "/handlers".into(),
        ];
        let Ok(Role::Supervisor(cli)) = role(arguments) else { panic!("no supervisor") };
        let findings = look(&cli, &Base::new(&cli, None), handlers);
        let mut out = Vec::new();
        findings.print(&mut out).unwrap();
        (findings.has_problems(), String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_is_in_order_is_told_and_no_handlers_are_only_a_warning() {
        let root = tempfile::tempdir().unwrap();
        let (problems, text) = found(root.path(), "log_level = 4\n", || Ok(Handlers::default()));
        assert!(!problems, "{text}");
        assert!(text.contains("ok: log level DEBUG, log file /var/log/tcmu-runner.log\n"), "{text}");
        assert!(text.contains("warning: /handlers: no handlers"), "{text}");
    }

    #[test]
    fn every_problem_is_told_and_not_only_the_first() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let conf = format!("log_dir = {}/sub\n!\nmetrics = 10.0.0.1:1\n", file.display());
        let (problems, text) = found(root.path(), &conf, || Err(anyhow::anyhow!("can not be read")));
        assert!(problems);
        for expected in ["tcmu.conf: line 2: `!`", "is not a directory", "10.0.0.1:1", "can not be read"] {
            assert!(
                text.lines().any(|line| line.starts_with("problem: ") && line.contains(expected)),
                "{text}"
            );
        }
    }
}
