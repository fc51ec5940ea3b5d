//! Expression, instance, result: one row for each row of Consul's rules.

use super::*;

use Who::{Bare, Blue, Sick};

/// The instances of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// It has everything, and a check that passes.
    Blue,
    /// Its own check warns, its node's passes.
    Sick,
    /// It has nothing that can be left out.
    Bare,
}

impl Who {
    fn registered(self) -> Registered {
        match self {
            Blue => registered(),
            Sick => Registered {
                checks: [
                    check("tcp", Health::Warning, false),
                    check("disk", Health::Passing, true),
                ]
                .into(),
                ..registered()
            },
            Bare => bare(),
        }
    }
}

type Row = (&'static str, Who, bool);

/// Every row also holds over the instance as the API shows it.
fn holds(rows: &[Row]) {
    for (text, who, expected) in rows.iter().copied() {
        let registered = who.registered();
        let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        filter.check().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.matches(&registered), expected, "{text} of {who:?}");
        let filter = ListFilter::parse(text, Shape::Instance).unwrap();
        let document = document(&registered);
        assert_eq!(filter.matches(&document), expected, "{text} of {document}");
    }
}

#[test]
fn values_are_compared_as_they_are_written() {
    holds(&[
        ("", Blue, true),
        ("Service.Meta.version == 2", Blue, true),
        ("Service.Meta.version == \"2\"", Blue, true),
        ("Service.Meta.version == `2`", Blue, true),
        ("Service.Meta.version ==2", Blue, true),
        ("Service.Meta.version==2", Blue, true),
        ("Service.Meta.version!=2", Blue, false),
        ("Service.Meta[\"version\"] == 2", Blue, true),
        ("Service.Meta[ `version` ] == 2", Blue, true),
        ("Service.Meta.tag == v2", Blue, true),
        ("Service.Meta.dots == v2.rc1", Blue, true),
        ("Service.Meta.dots == v2[\"rc1\"]", Blue, true),
        ("Service.Meta.version == 2.0", Blue, false),
        ("Service.Meta.minor == 2.0", Blue, true),
        ("Service.Meta.negative == -1", Blue, true),
        ("Service.Meta.version == 3", Blue, false),
        ("Service.Meta.version == \"02\"", Blue, false),
        ("Service.Meta.version == \"2 \"", Blue, false),
        ("Service.Meta[\"a.b\"] == x", Blue, true),
        ("Service.Meta[\"pod-name\"] == \"p1\"", Blue, true),
        ("Service.Meta.version == \"\\x32\"", Blue, true),
        ("Service.Meta.version == \"\\u0032\"", Blue, true),
        ("Service.Meta.lines == \"a\\n\\tb\\\\\"", Blue, true),
        ("Service.Meta.lines == `a\\n\\tb\\\\`", Blue, false),
        ("Service.Meta.version == and", Blue, false),
        ("Service.Meta.word == and", Blue, true),
        ("Service.Meta.word == and and Service.Meta.word == and", Blue, true),
        ("Service.Meta.not == is", Bare, false),
        ("Service.Meta.version == 2\n  ", Blue, true),
        ("\t( Service.Meta.version == 2 )\r\n", Blue, true),
    ]);
}

#[test]
fn each_type_of_field_takes_its_operators() {
    holds(&[
        // Texts: equal, a part, a pattern.
        ("Service.ID == `payments-blue-1`", Blue, true),
        ("Service.ID != `payments-blue-1`", Blue, false),
        ("blue in Service.ID", Blue, true),
        ("green in Service.ID", Blue, false),
        ("blue not in Service.ID", Blue, false),
        ("Service.ID contains blue", Blue, true),
        ("Service.ID not contains blue", Blue, false),
        ("Service.ID matches `blue-\\d+$`", Blue, true),
        ("Service.ID not matches `blue-\\d+$`", Blue, false),
        // Whole numbers and truths: equal only; the literal is read as the field's type.
        ("Service.Port == 9090", Blue, true),
        ("Service.Port != 9090", Blue, false),
        ("Service.Port == \"9090\"", Blue, true),
        ("Service.Port == \"0x2382\"", Blue, true),
        ("Service.Port == \"021602\"", Blue, true),
        ("Service.Port == \"+9090\"", Blue, true),
        ("Service.Port == -9090", Blue, false),
        ("Service.EnableTagOverride == false", Blue, true),
        ("Service.EnableTagOverride == 0", Blue, true),
        ("Service.EnableTagOverride == F", Blue, true),
        ("Service.EnableTagOverride != TRUE", Blue, true),
        ("Service.EnableTagOverride == t", Blue, false),
        // Lists of texts: an exact element, emptiness.
        ("v2 in Service.Tags", Blue, true),
        ("v in Service.Tags", Blue, false),
        ("v3 not in Service.Tags", Blue, true),
        ("Service.Tags contains blue", Blue, true),
        ("Service.Tags not contains blue", Blue, false),
        ("Service.Tags is empty", Blue, false),
        ("Service.Tags is not empty", Blue, true),
        ("Service.Tags is empty", Bare, true),
        ("v2 in Service.Tags", Bare, false),
        ("v2 not in Service.Tags", Bare, true),
        // Maps: a key, emptiness.
        ("version in Service.Meta", Blue, true),
        ("nothing in Service.Meta", Blue, false),
        ("nothing not in Service.Meta", Blue, true),
        ("Service.Meta contains version", Blue, true),
        ("Service.Meta is not empty", Blue, true),
        ("Service.Meta is empty", Bare, true),
        ("Node.Meta is empty", Blue, false),
        // Values of maps are texts: a part of one is enough.
        ("2 in Service.Meta.long", Blue, true),
        ("Service.Meta.long contains 2", Blue, true),
        ("3 in Service.Meta.long", Blue, false),
        ("Service.Meta.long matches \"2\"", Blue, true),
        ("Service.Meta.long matches \"^2\"", Blue, false),
        // Lists of records: emptiness; of their fields any element is enough.
        ("Checks is empty", Blue, false),
        ("Checks is not empty", Blue, true),
        ("Checks is empty", Bare, true),
        ("Checks is not empty", Bare, false),
    ]);
}

#[test]
fn a_key_that_is_absent_is_nothing() {
    holds(&[
        ("Service.Meta.x == 2", Blue, false),
        ("Service.Meta.x != 2", Blue, true),
        ("2 in Service.Meta.x", Blue, false),
        ("Service.Meta.x contains 2", Blue, false),
        ("2 not in Service.Meta.x", Blue, true),
        // Consul itself says true: the one place where its newer library is followed.
        ("Service.Meta.x matches \".*\"", Blue, false),
        ("Service.Meta.x not matches \".*\"", Blue, true),
        // As in no map at all.
        ("Service.Meta.x == 2", Bare, false),
        ("Service.Meta.x != 2", Bare, true),
        ("Service.Meta.x matches \".*\"", Bare, false),
        ("Service.Meta.x not matches \".*\"", Bare, true),
        // An empty value is a value.
        ("Service.Meta.empty == \"\"", Blue, true),
        ("Service.Meta.x == \"\"", Blue, false),
        ("\"\" in Service.Meta.empty", Blue, true),
        ("\"\" in Service.Meta.x", Blue, false),
        ("Service.Meta.empty matches `^$`", Blue, true),
        ("Service.TaggedAddresses.lan.Port == 80", Blue, false),
        ("Service.TaggedAddresses.lan.Port != 80", Blue, true),
        ("Service.TaggedAddresses.lan.Address == \"\"", Blue, false),
        ("Node.TaggedAddresses.wan != \"192.0.2.1\"", Blue, true),
    ]);
}

#[test]
fn of_checks_any_is_enough_even_for_what_is_denied() {
    holds(&[
        ("Checks.Status == passing", Sick, true),
        ("Checks.Status == warning", Sick, true),
        ("Checks.Status == critical", Sick, false),
        ("Checks.Status != passing", Sick, true),
        ("not Checks.Status == passing", Sick, false),
        ("Checks.Status != passing", Blue, false),
        ("not Checks.Status == passing", Blue, false),
        // Of no check nothing is so.
        ("Checks.Status == passing", Bare, false),
        ("Checks.Status != passing", Bare, false),
        ("not Checks.Status == passing", Bare, true),
        ("Checks.Name not matches x", Bare, false),
        ("Checks.ServiceTags is empty", Bare, false),
        // Each term looks at all checks anew.
        ("Checks.CheckID == disk and Checks.Status == warning", Sick, true),
        // A check of the node is of no service.
        ("Checks.ServiceName == payments", Sick, true),
        ("Checks.ServiceName == \"\"", Sick, true),
        ("Checks.ServiceName == \"\"", Blue, false),
        ("Checks.ServiceID == \"\"", Sick, true),
        ("Checks.ServiceTags is empty", Sick, true),
        ("Checks.ServiceTags is empty", Blue, false),
        ("v2 in Checks.ServiceTags", Sick, true),
        ("v3 in Checks.ServiceTags", Sick, false),
    ]);
}

#[test]
fn every_selector_of_consul_names_its_field() {
    holds(&[
        ("Node.ID == `7d2f-1`", Blue, true),
        ("Node.Node == n1", Blue, true),
        ("Node.Address == \"192.0.2.1\"", Blue, true),
        ("Node.Datacenter == dc1", Blue, true),
        ("Node.Partition == \"\"", Blue, true),
        ("Node.PeerName == \"\"", Blue, true),
        ("lan in Node.TaggedAddresses", Blue, true),
        ("Node.TaggedAddresses.lan == \"192.0.2.7\"", Blue, true),
        ("Node.TaggedAddresses is empty", Bare, true),
        ("Node.Meta.zone == a", Blue, true),
        ("zone in Node.Meta", Blue, true),
        ("Service.ID contains blue", Blue, true),
        ("Service.Service == payments", Blue, true),
        ("Service.Kind == \"\"", Blue, true),
        ("Service.Address == \"10.244.1.1\"", Blue, true),
        ("Service.Address == \"fd00::1\"", Sick, false),
        ("Service.Address == \"\"", Bare, true),
        ("Service.Address matches `^10[.]244[.]`", Blue, true),
        ("Service.SocketPath == \"\"", Blue, true),
        ("virtual in Service.TaggedAddresses", Blue, true),
        ("Service.TaggedAddresses is empty", Bare, true),
        ("Service.TaggedAddresses.virtual.Address == \"10.96.0.10\"", Blue, true),
        ("Service.TaggedAddresses.virtual.Port == 80", Blue, true),
        ("Service.TaggedAddresses.six.Address == \"fd00::1\"", Blue, true),
        ("Service.Weights.Passing == 3", Blue, true),
        ("Service.Weights.Warning == 3", Blue, false),
        ("Service.EnableTagOverride == true", Blue, false),
        ("Service.PeerName == \"\"", Blue, true),
    ]);
}

/// No instance here is a proxy: it answers as one of Consul's that is none.
#[test]
fn fields_of_proxies_are_zero() {
    holds(&[
        ("Service.Connect.Native == false", Blue, true),
        ("Service.Proxy.DestinationServiceName == \"\"", Blue, true),
        ("Service.Proxy.DestinationServiceName != payments", Blue, true),
        ("Service.Proxy.DestinationServiceID matches payments", Blue, false),
        ("Service.Proxy.LocalServiceAddress == \"\"", Blue, true),
        ("Service.Proxy.LocalServicePort == 0", Blue, true),
        ("Service.Proxy.LocalServiceSocketPath == \"\"", Blue, true),
        ("Service.Proxy.Mode == \"\"", Blue, true),
        ("Service.Proxy.Mode == transparent", Blue, false),
        ("Service.Proxy.TransparentProxy.OutboundListenerPort == 0", Blue, true),
        ("Service.Proxy.TransparentProxy.DialedDirectly == false", Blue, true),
        ("Service.Proxy.MeshGateway.Mode == \"\"", Blue, true),
        ("Service.Proxy.Expose.Checks == false", Blue, true),
        ("Service.Proxy.Expose.Paths is empty", Blue, true),
        ("Service.Proxy.Expose.Paths.ListenerPort != 1", Blue, false),
        ("Service.Proxy.Upstreams is empty", Blue, true),
        ("Service.Proxy.Upstreams is not empty", Blue, false),
        ("Service.Proxy.Upstreams.DestinationName == db", Blue, false),
        ("Service.Proxy.Upstreams.DestinationName != db", Blue, false),
        ("not Service.Proxy.Upstreams.DestinationName == db", Blue, true),
        ("Service.Proxy.Upstreams.LocalBindPort == 0", Blue, false),
    ]);
}

#[test]
fn checks_have_all_their_fields() {
    holds(&[
        ("Checks.Node == n1", Blue, true),
        ("Checks.CheckID == tcp", Blue, true),
        ("Checks.Name == `Check tcp`", Blue, true),
        ("Checks.Status == passing", Blue, true),
        ("Checks.Notes == `about tcp`", Blue, true),
        ("Checks.Output contains connected", Blue, true),
        ("Checks.ServiceID == `payments-blue-1`", Blue, true),
        ("Checks.ServiceName == payments", Blue, true),
        ("Checks.ServiceTags contains blue", Blue, true),
        ("Checks.Type == tcp", Blue, true),
        ("Checks.Interval == \"\"", Blue, true),
        ("Checks.Timeout == \"\"", Blue, true),
        ("Checks.ExposedPort == 0", Blue, true),
        ("Checks.PeerName == \"\"", Blue, true),
    ]);
}

#[test]
fn and_binds_tighter_than_or_and_not_tightest() {
    holds(&[
        ("Service.Port == 1 and Service.Port == 2 or Service.Port == 9090", Blue, true),
        ("Service.Port == 9090 or Service.Port == 1 and Service.Port == 2", Blue, true),
        ("(Service.Port == 9090 or Service.Port == 1) and Service.Port == 2", Blue, false),
        ("not Service.Port == 1 and Service.Port == 2", Blue, false),
        ("not (Service.Port == 1 and Service.Port == 2)", Blue, true),
        ("not not Service.Port == 9090", Blue, true),
        ("not not not Service.Port == 9090", Blue, false),
        ("(Service.Port == 9090) and (not (Service.Port == 1))", Blue, true),
        ("((Service.Port == 9090) or (Service.Port == 1)) and not Service.Port == 2", Blue, true),
    ]);
}

#[test]
fn patterns_are_gos() {
    holds(&[
        // Anywhere, and in the letters given.
        ("Service.ID matches blue", Blue, true),
        ("Service.ID matches BLUE", Blue, false),
        ("Service.ID matches `(?i)BLUE`", Blue, true),
        ("Service.ID matches `^blue`", Blue, false),
        ("Service.ID matches `1$`", Blue, true),
        ("Service.ID matches `^payments-(blue|green)-[0-9]{1,3}$`", Blue, true),
        // Classes are of ASCII, whatever their library would say.
        ("Service.Meta.unicode matches `^\\w+$`", Blue, false),
        ("Service.Meta.unicode matches `^[\\w]+$`", Blue, false),
        ("Service.Meta.unicode matches `^\\pL+$`", Blue, true),
        ("Service.Meta.unicode matches `^\\W`", Blue, true),
        ("Service.Meta.unicode matches `^[^\\W]`", Blue, false),
        ("Service.Meta.digits matches `\\d`", Blue, false),
        ("Service.Meta.digits matches `[[:digit:]]`", Blue, false),
        ("Service.Meta.digits matches `\\D`", Blue, true),
        ("Service.Meta.spaced matches `a\\sb`", Blue, false),
        ("Service.Meta.dots matches `\\brc\\d\\b`", Blue, true),
        ("Service.ID matches `p\\Bay`", Blue, true),
        ("Service.ID matches `a{,1}`", Blue, false),
        // What sets are to one library are letters to the other.
        ("Service.Meta.sets matches `^[a&&b]+$`", Blue, true),
        ("Service.Meta.sets matches `^[[&]`", Blue, false),
        ("Service.Meta.quoted matches `^\\Qa.b*\\E$`", Blue, true),
    ]);
}
