//! `config`: shows what a configuration comes to, or every key there is.

use std::io::{self, Write};

use clap::Args;

use super::flags::ConfigArgs;
use crate::config::TaskKind;
use crate::config::{SECTIONS, default_of};

/// Check a configuration and print it with every default filled in
#[derive(Debug, Args)]
#[command(after_help = "Examples, after the program's name:\n  \
    config --config my.toml --set optimizer.lr=5e-4\n  config --keys")]
pub struct ConfigCommand {
    #[command(flatten)]
    config: ConfigArgs,
    /// List every section and key with its meaning instead
    #[arg(long)]
    keys: bool,
}

impl ConfigCommand {
    /// Prints to stdout.
    pub fn run(&self, task: TaskKind) -> anyhow::Result<()> {
        let text = if self.keys { keys(task) } else { self.config.plan(task)?.to_toml() };
        Ok(io::stdout().lock().write_all(text.as_bytes())?)
    }
}

fn keys(task: TaskKind) -> String {
    let mut out = String::new();
    for (section, keys) in SECTIONS.iter().filter(|(section, _)| task.reads(section)) {
        out += &format!("[{section}]\n");
        for key in *keys {
            let default = default_of(section, key.name);
            let default = default.map_or_else(String::new, |value| format!(" [default: {value}]"));
            out += &format!("  {:<20} {}{default}\n", key.name, key.doc.trim());
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_task_is_listed_with_its_meaning() {
        let text = keys(TaskKind::Detect);
        assert!(text.contains("[detect]") && !text.contains("[segment]"));
        assert!(text.contains("  weight_decay         Decoupled weight decay. [default: 0.05]\n"));
        assert!(text.lines().filter(|l| l.starts_with("  ")).all(|l| l.split_whitespace().count() > 2));
    }
}
