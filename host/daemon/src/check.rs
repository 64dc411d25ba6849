//! Whether a device could be configured so, before there is one: what `CheckConfig` on the bus asks.
//!
//! The cfgstring is taken apart by the handler's option schema, as for a device, and then the handler itself is asked, in a
//! throw-away instance in a jailed child. No file is looked at: a path that does not exist is said to be so when the
//! device is enabled.

use std::sync::Arc;
use std::time::Duration;

use lunbox_engine::check_child::{Question, Verdict};
use lunbox_engine::read_container;
use lunbox_grant::{Cfgstring, Parsed, parse, whole_text};

use crate::compiler::{Compiler, input};
use crate::handlers::{Handlers, Installed};

/// How long a check may take: the handler's own time is limited to milliseconds of CPU, and a busy machine needs the
/// rest to start a process. Callers wait 25 s.
const LIMIT: Duration = Duration::from_secs(5);

/// What the kernel keeps of a `dev_config`, in bytes (`TCMU_CONFIG_LEN` less the end, Linux
/// drivers/target/target_core_user.c).
const KEPT: usize = 255;

/// Checks configurations.
#[derive(Clone, Debug)]
pub struct Checker {
    handlers: Handlers,
    compiler: Compiler,
    limit: Duration,
}

impl Checker {
    /// Checks for these handlers, in children that `compiler` starts.
    #[must_use]
    pub fn new(handlers: Handlers, compiler: Compiler) -> Self {
        Self { handlers, compiler, limit: LIMIT }
    }

    /// Whether a device of `subtype` could have `config` (`<subtype>/…`) as its `dev_config`. Blocks for some
    /// milliseconds, 5 s at the most. Looks at no file.
    ///
    /// What can not be found out (no more processes, no jail, no time on a busy machine) does not speak against it: it is
    /// logged, and the device will show it. The same for handlers that import WASI: what they need beyond their options is not known before there is
    /// a device, so only their options are checked.
    ///
    /// # Errors
    /// Why not, as one line.
    pub fn check(&self, subtype: &str, config: &str) -> Result<(), String> {
        let handler = self.handler(subtype)?;
        let parsed = options(&handler, subtype, config)?;
        if handler.manifest.wasi {
            return Ok(());
        }
        answer(subtype, self.ask(&handler, parsed), self.limit)
    }

    /// The same without asking the handler. Does not block.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn glance(&self, subtype: &str, config: &str) -> Result<(), String> {
        let handler = self.handler(subtype)?;
        options(&handler, subtype, config).map(|_| ())
    }

    fn handler(&self, subtype: &str) -> Result<Arc<Installed>, String> {
        self.handlers.get(subtype).ok_or_else(|| format!("there is no handler \"{subtype}\" any more"))
    }

    fn ask(&self, handler: &Installed, parsed: Parsed) -> Result<Verdict, Unknown> {
        let container =
            read_container(&handler.container).map_err(|error| Unknown::Failed(error.to_string()))?;
        let stores = parsed.stores.into_iter().map(|store| (store.option, store.read_only)).collect();
        let question = Question { component: handler.digest, stores, options: parsed.options };
        let failed = |error: std::io::Error| Unknown::Failed(format!("the child that checks: {error}"));
        let input = input("lunbox-check", |file| question.write_to(&container, file)).map_err(failed)?;
        let (verdict, over) =
            self.compiler.ask("check", self.limit, input, Verdict::read_from).map_err(failed)?;
        match verdict.map_err(failed)? {
            Some(verdict) => Ok(verdict),
            None if over => Err(Unknown::TooLong),
            None => Err(Unknown::Failed("the child that checks has ended without an answer".to_owned())),
        }
    }
}

/// Why there is no verdict.
enum Unknown {
    TooLong,
    Failed(String),
}

/// What the caller is told.
fn answer(subtype: &str, verdict: Result<Verdict, Unknown>, limit: Duration) -> Result<(), String> {
    let unknown = match verdict {
        Ok(Verdict::Accepted) => return Ok(()),
        Ok(Verdict::Refused(reason)) => return Err(reason),
        Ok(Verdict::Fault(reason)) => return Err(format!("handler \"{subtype}\" failed: {reason}")),
        Ok(Verdict::Failed(reason)) | Err(Unknown::Failed(reason)) => reason,
        Err(Unknown::TooLong) => {
            format!("that took more than {} s; the machine may be busy", limit.as_secs())
        }
    };
    tracing::warn!("configuration of handler {subtype:?} not checked by it: {unknown}");
    Ok(())
}

/// What the host itself finds wrong.
fn options(handler: &Installed, subtype: &str, config: &str) -> Result<Parsed, String> {
    let Some((prefix, text)) = config.split_once('/') else {
        return Err(format!("there is no \"/\"; write {subtype}/ and then the configuration"));
    };
    if prefix != subtype {
        return Err(format!("it is for handler {prefix:?}, and this is \"{subtype}\"; write {subtype}/…"));
    }
    if config.len() > KEPT {
        return Err(format!(
            "the configuration has {} bytes; the kernel takes {KEPT}; use shorter paths",
            config.len()
        ));
    }
    let whole = whole_text();
    let schema = handler.manifest.schema.as_ref().unwrap_or(&whole);
    parse(schema, &Cfgstring::parse(text).text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
