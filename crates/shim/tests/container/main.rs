//! Real containers run through the protocol by a real zygote. Needs root and busybox-static.

#[cfg(test)]
mod attach;
#[cfg(test)]
mod exec;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod host;
#[cfg(test)]
mod life;
#[cfg(test)]
mod network;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod sandbox;
