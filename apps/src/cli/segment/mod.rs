//! The subcommands of `segment`.

mod train;
