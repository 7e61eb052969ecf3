//! The program `classify`.

fn main() -> std::process::ExitCode {
    kat_apps::classify::program::main()
}
