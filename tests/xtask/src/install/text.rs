//! Files of the checkout are written for `/usr`; another prefix changes the paths in them.

use super::files::USUAL_PREFIX;
use anyhow::Context;
use std::path::Path;

/// How units and bus activation start the daemon.
const START: &str = "/usr/bin/tcmu-runner";

/// The text of `from` for `prefix`. The daemon looks for handlers below `/usr` unless it is told.
///
/// # Errors
/// When the file can not be read.
pub fn for_prefix(from: &Path, prefix: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(from).with_context(|| format!("cannot read {}", from.display()))?;
    if prefix == USUAL_PREFIX {
        return Ok(text);
    }
    let start = format!("{prefix}/bin/tcmu-runner --handler-path {prefix}/lib/lunbox/handlers");
    Ok(text.replace(START, &start).replace("/usr/lib/", &format!("{prefix}/lib/")))
}
