//! The program `segment`.

fn main() -> std::process::ExitCode {
    kat_apps::segment::program::main()
}
