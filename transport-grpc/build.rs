//! Generates types from `proto/`, without a protoc.

#![allow(clippy::print_stdout)] // cargo reads it

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).open_files(["numbers.proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // With comments, for reflection.
    fs::write(out.join("numbers.bin"), compiler.encode_file_descriptor_set())?;
    prost_build::Config::new().compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
