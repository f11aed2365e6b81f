//! The program `tailll`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tailll::main()
}
