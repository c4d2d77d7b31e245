//! The version of tungstenite, from Cargo.lock.
fn main() {
    let lock = std::fs::read_to_string("Cargo.lock").expect("Cargo.lock");
    let (_, entry) = lock
        .split_once("name = \"tungstenite\"\nversion = \"")
        .expect("tungstenite");
    let version = entry.split('"').next().expect("a version");
    println!("cargo::rustc-env=TUNGSTENITE_VERSION={version}");
    println!("cargo::rerun-if-changed=Cargo.lock");
}
