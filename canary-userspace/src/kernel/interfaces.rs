//! temp
use anyhow::Result;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role { Pod, Uplink, Other }
#[derive(Clone, Debug)]
pub struct Link { pub index: u32, pub name: String, pub role: Role, pub has_own_driver: bool, pub l2_len: u8 }
#[derive(Debug)]
pub struct Watcher { last: Vec<u32> }
impl Watcher {
    pub fn new(_p: &[String], _u: &[String]) -> Result<Self> { Ok(Self { last: vec![] }) }
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let l: Vec<Link> = nix::net::if_::if_nameindex()?.iter().filter_map(|i| { let name = i.name().to_str().ok()?.to_owned(); if name == "lo" { return None; } let role = if name.starts_with("veth") { Role::Pod } else if name.starts_with("eth") { Role::Uplink } else { Role::Other }; Some(Link { index: i.index(), name, role, has_own_driver: false, l2_len: 14 }) }).collect();
        self.last = l.iter().map(|l| l.index).collect();
        Ok(l)
    }
    pub fn changed(&mut self) -> bool { let n: Vec<u32> = nix::net::if_::if_nameindex().unwrap().iter().filter(|i| i.name().to_str() != Ok("lo")).map(|i| i.index()).collect(); n != self.last }
}
