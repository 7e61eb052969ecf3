//! The program `detect`.

fn main() -> std::process::ExitCode {
    kat_apps::detect::program::main()
}
