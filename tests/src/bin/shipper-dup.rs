//! `shipper` itself, once more: Cargo gives a package's tests (and the demo) only the binaries of that package.

use std::process::ExitCode;

fn main() -> ExitCode {
    shipper::main()
}
