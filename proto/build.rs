//! Compiles the `.proto` files with protox, so that a machine needs cargo only; it never calls protoc.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let mut files = Vec::new();
    for folder in ["convoy/v1", "convoy/journal/v1"] {
        println!("cargo:rerun-if-changed={folder}");
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "proto")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    let descriptors = protox::compile(files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Reflection shows the API, not the journal.
    let mut public = descriptors.clone();
    public
        .file
        .retain(|file| !file.package().starts_with("convoy.journal"));
    fs::write(out.join("convoy_v1.bin"), public.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".convoy")
        .compile_fds(descriptors)?;
    Ok(())
}
