//! `completions` and `man`: what shells and `man` want to know of a program, made from its command line.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

use super::printable::print;

/// Print what a shell needs to complete this program's commands and flags
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    classify completions bash > ~/.local/share/bash-completion/completions/classify\n  \
    classify completions zsh > ~/.zfunc/_classify\n  \
    classify completions fish > ~/.config/fish/completions/classify.fish")]
pub struct CompletionsCommand {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsCommand {
    /// Prints to stdout.
    ///
    /// # Errors
    /// A closed stdout.
    pub fn run(&self, mut program: Command) -> anyhow::Result<()> {
        let (mut text, name) = (Vec::new(), program.get_name().to_owned());
        clap_complete::generate(self.shell, &mut program, name, &mut text);
        print(&String::from_utf8_lossy(&text))
    }
}

/// Write man pages of this program and its commands
#[derive(Debug, Args)]
pub struct ManCommand {
    /// Folder for the pages, such as ~/.local/share/man/man1
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl ManCommand {
    /// Writes a page for each command.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn run(&self, program: Command) -> anyhow::Result<()> {
        let refused = || format!("cannot write to {}", self.folder.display());
        std::fs::create_dir_all(&self.folder).with_context(refused)?;
        clap_mangen::generate_to(program, &self.folder).with_context(refused)?;
        tracing::info!("wrote man pages to {}", self.folder.display());
        Ok(())
    }
}
