package ecs

import "testing"

func TestConsole_links(t *testing.T) {
	const arn = "arn:aws:ecs:eu-central-1:123456789012:task/jobs/0123456789abcdef"
	for _, tt := range []struct{ got, want string }{
		{taskURL("eu-central-1", "jobs", arn), "https://eu-central-1.console.aws.amazon.com/ecs/v2/clusters/jobs/tasks/0123456789abcdef/configuration?region=eu-central-1"},
		{taskURL("eu-central-1", "arn:aws:ecs:eu-central-1:123456789012:cluster/jobs", arn), taskURL("eu-central-1", "jobs", arn)},
		{taskURL("cn-north-1", "jobs", arn), "https://cn-north-1.console.amazonaws.cn/ecs/v2/clusters/jobs/tasks/0123456789abcdef/configuration?region=cn-north-1"},
		{
			logURL("us-gov-west-1", "/weir/prod", "weir/weir/01"),
			"https://us-gov-west-1.console.amazonaws-us-gov.com/cloudwatch/home?region=us-gov-west-1#logsV2:log-groups/log-group/$252Fweir$252Fprod/log-events/weir$252Fweir$252F01",
		},
	} {
		if tt.got != tt.want {
			t.Errorf("got  %s\nwant %s", tt.got, tt.want)
		}
	}
}
