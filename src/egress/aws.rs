//! Which hosts are API hosts of AWS: those that VPC endpoints serve, and that a proxy reaches by a public address, if at
//! all. Pure.

/// DNS suffixes of the partitions below which service hosts and hosts of customers live side by side: `aws` and
/// `aws-us-gov` (the first), `aws-cn`, `aws-eusc`, `aws-iso`, `aws-iso-b`, `aws-iso-e`, `aws-iso-f`. From the partition table
/// that the AWS SDKs share.
const SHARED_SUFFIXES: [&str; 7] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "cloud.adc-e.uk",
    "csp.hci.ic.gov",
];

/// Dual-stack suffixes of the partitions, in the same order. Nothing but service hosts lives below them.
const SERVICE_SUFFIXES: [&str; 7] = [
    "api.aws",
    "api.amazonwebservices.com.cn",
    "api.amazonwebservices.eu",
    "api.aws.ic.gov",
    "api.aws.scloud",
    "api.cloud-aws.adc-e.uk",
    "api.aws.hci.ic.gov",
];

/// Suffixes for dual-stack hosts of customers, of which only the container registries are served by VPC endpoints.
const CUSTOMER_SUFFIXES: [&str; 2] = ["on.aws", "on.amazonwebservices.com.cn"];

/// Services below whose name customers' own hosts live, reached as the customer's network says and not by an endpoint of the
/// service: load balancers, instances, API gateways, and the two faces of S3 that no endpoint serves.
const HOSTS_OF_CUSTOMERS: [&str; 6] = ["elb", "compute", "compute-1", "execute-api", "s3-website", "s3-accelerate"];

/// Whether a host (lower case, no final dot) is one of AWS's API hosts, in any partition: services by region and global ones,
/// buckets, registries, the API servers of EKS, and names of VPC endpoints.
pub(super) fn is_api_host(host: &str) -> bool {
    if SERVICE_SUFFIXES.iter().any(|suffix| labels_below(host, suffix).is_some()) {
        return true;
    }
    for suffix in CUSTOMER_SUFFIXES {
        if let Some(labels) = labels_below(host, suffix) {
            return matches!(labels.as_slice(), [.., "dkr-ecr", region] if is_region(region));
        }
    }
    SHARED_SUFFIXES.iter().find_map(|suffix| labels_below(host, suffix)).is_some_and(|labels| is_service(&labels))
}

/// Judges what stands before a shared suffix. A service's host ends in its name and the region (`sts.eu-west-1`, `bucket.s3.
/// dualstack.eu-west-1`), or in its name alone where it is global (`iam`). What customers name has the region before
/// the service (`db.eu-west-1.rds`), but for the API servers of EKS.
fn is_service(labels: &[&str]) -> bool {
    let (last, before) = match labels {
        [] => return false,
        [before @ .., last] => (*last, before),
    };
    if last == "vpce" {
        return true;
    }
    let of_customer =
        |label: &str| HOSTS_OF_CUSTOMERS.contains(&label) || label.strip_prefix("s3-website-").is_some_and(is_region);
    if is_region(last) {
        return match before {
            [] => false,
            [.., service] => !of_customer(service),
        };
    }
    if of_customer(last) {
        return false;
    }
    match before {
        [] => true,
        // Older hosts: `eu-west-1.queue`, and the API servers of EKS.
        [region] if is_region(region) => true,
        [.., region] if last == "eks" => is_region(region),
        // Buckets by the global and by the older regional names; `s3.dualstack` never stands without a region.
        [.., _] => last == "s3" || last.strip_prefix("s3-").is_some_and(is_region),
    }
}

/// The labels before a suffix, `None` when the host does not lie below it.
fn labels_below<'a>(host: &'a str, suffix: &str) -> Option<Vec<&'a str>> {
    let before = host.strip_suffix(suffix)?.strip_suffix('.')?;
    (!before.is_empty()).then(|| before.split('.').collect())
}

/// `eu-west-1`, `us-gov-east-1`, `us-isob-east-1`, `eusc-de-east-1`.
fn is_region(label: &str) -> bool {
    let mut parts = label.split('-').rev();
    let number = parts.next().unwrap_or_default();
    let words: Vec<&str> = parts.collect();
    let digits = !number.is_empty() && number.len() <= 2 && number.bytes().all(|byte| byte.is_ascii_digit());
    digits
        && (2..=3).contains(&words.len())
        && words.iter().all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn airgap_58_the_api_hosts_of_every_partition_are_known() {
        for host in [
            "sts.eu-west-1.amazonaws.com",
            "sts.us-gov-west-1.amazonaws.com",
            "sts-fips.us-east-1.amazonaws.com",
            "sts.amazonaws.com",
            "iam.amazonaws.com",
            "sts.cn-north-1.amazonaws.com.cn",
            "sts.us-iso-east-1.c2s.ic.gov",
            "sts.us-isob-east-1.sc2s.sgov.gov",
            "sts.eu-isoe-west-1.cloud.adc-e.uk",
            "sts.us-isof-south-1.csp.hci.ic.gov",
            "sts.eusc-de-east-1.amazonaws.eu",
            "sts.eu-west-1.api.aws",
            "eks.us-east-1.api.aws",
            "sts.cn-north-1.api.amazonwebservices.com.cn",
            "ec2.eusc-de-east-1.api.amazonwebservices.eu",
            "ec2.us-iso-east-1.api.aws.ic.gov",
            "ec2.us-isob-east-1.api.aws.scloud",
            "ec2.eu-isoe-west-1.api.cloud-aws.adc-e.uk",
            "ec2.us-isof-south-1.api.aws.hci.ic.gov",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr-ecr.eu-west-1.on.aws",
            "api.ecr.eu-west-1.amazonaws.com",
            "bucket.s3.eu-west-1.amazonaws.com",
            "prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com",
            "a.dotted.bucket.s3.dualstack.eu-west-1.amazonaws.com",
            "bucket.s3-fips.us-gov-west-1.amazonaws.com",
            "s3.amazonaws.com",
            "bucket.s3.amazonaws.com",
            "bucket.s3-eu-west-1.amazonaws.com",
            "git-codecommit.eu-west-1.amazonaws.com",
            "corp-123.d.codeartifact.eu-west-1.amazonaws.com",
            "0123abcd.gr7.eu-west-1.eks.amazonaws.com",
            "eu-west-1.queue.amazonaws.com",
            "vpce-0a1b-2c3d.sts.eu-west-1.vpce.amazonaws.com",
            "vpce-svc-0a1b.eu-west-1.vpce.amazonaws.com",
        ] {
            assert!(is_api_host(host), "{host}");
        }
    }

    #[test]
    fn hosts_of_customers_and_look_alikes_are_no_api_hosts() {
        for host in [
            "d111111abcdef8.cloudfront.net",
            "corp-git-123.eu-west-1.elb.amazonaws.com",
            "corp-git-123.elb.eu-west-1.amazonaws.com",
            "internal-git-1.eu-west-1.elb.amazonaws.com",
            "elb.amazonaws.com",
            "compute.amazonaws.com",
            "ec2-52-1-2-3.eu-west-1.compute.amazonaws.com",
            "ec2-52-1-2-3.compute-1.amazonaws.com",
            "db.abc.eu-west-1.rds.amazonaws.com",
            "abc.execute-api.eu-west-1.amazonaws.com",
            "charts.s3-website-us-east-1.amazonaws.com",
            "charts.s3-website.eu-central-1.amazonaws.com",
            "charts.s3-accelerate.amazonaws.com",
            "charts.s3-accelerate.dualstack.amazonaws.com",
            "abc.lambda-url.eu-west-1.on.aws",
            "public.ecr.aws",
            "aws.amazon.com",
            "git.aws",
            "api.aws",
            "amazonaws.com",
            "eu-west-1.amazonaws.com",
            "sts.eu-west-1.amazonaws.com.evil.test",
            "evilamazonaws.com",
            "sts.eu-west-1.evilamazonaws.com",
            "git.eu-west-1.corp.test",
        ] {
            assert!(!is_api_host(host), "{host}");
        }
    }
}
