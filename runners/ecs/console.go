package ecs

import (
	"net/url"
	"strings"
)

// consoleHost is where the console of a region is.
func consoleHost(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return region + ".console.amazonaws.cn"
	case strings.HasPrefix(region, "us-gov-"):
		return region + ".console.amazonaws-us-gov.com"
	}
	return region + ".console.aws.amazon.com"
}

// taskURL is the console's page of a task. cluster is a name or an ARN.
func taskURL(region, cluster, taskARN string) string {
	return "https://" + consoleHost(region) + "/ecs/v2/clusters/" + url.PathEscape(lastPart(cluster)) + "/tasks/" + lastPart(taskARN) + "/configuration?region=" + region
}

// logURL is the console's page of a log stream.
func logURL(region, group, stream string) string {
	return "https://" + consoleHost(region) + "/cloudwatch/home?region=" + region + "#logsV2:log-groups/log-group/" + inFragment(group) + "/log-events/" + inFragment(stream)
}

// inFragment is how CloudWatch's pages have a name in their address: escaped twice, with $ for the second %.
func inFragment(s string) string {
	return strings.ReplaceAll(url.QueryEscape(url.QueryEscape(s)), "%", "$")
}

// lastPart is what follows the last slash of an ARN: a task's ID, a cluster's name.
func lastPart(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }
