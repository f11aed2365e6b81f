//! What the end-to-end tests, the whole-program benches and the demo share: the other side of every connection, on
//! loopback, with the faults that the programs claim to survive.
//!
//! The demo cluster is [`cluster::Cluster`]; its parts ([`scheduler`], [`ssh_server`], [`writers`]) serve tests alone, too. In a
//! [`small_cluster::SmallCluster`] nothing happens by itself.
//! The rig is [`sshd::Sshd`], OpenSSH's own server; [`rotation`] writes logs to follow there, [`cut`] breaks connections, and
//! [`tail_process`] runs the program under test. [`conformance`] is what every transport has to pass, [`client`] makes one.
//! Objects lie in [`s3_server::S3Server`], in one of [`moto`], or in any store behind a [`faulty_store::FaultyStore`];
//! [`store_conformance`] is what every store has to pass. Athena is an [`athena_server::AthenaServer`], or
//! moto's; what it is made of is [`trino::Trino`].

pub mod athena_server;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod conformance;
pub mod cut;
pub mod faulty_store;
pub mod login;
pub mod moto;
pub mod processes;
pub mod python_aurora;
pub mod rotation;
pub mod s3_server;
pub mod sandboxes;
pub mod scheduler;
pub mod shipped;
pub mod shipper_toml;
pub mod small_cluster;
pub mod ssh_server;
pub mod sshd;
pub mod store_conformance;
pub mod tail_process;
pub mod trino;
pub mod writers;
