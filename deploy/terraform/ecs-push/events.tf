# ECS tells of its tasks by events, and a rule puts those of the cluster into a queue. Several servers and workers share the queue. Without it
# tasks are looked at in turn, which needs nothing here.

resource "aws_sqs_queue" "events" {
  count = var.events ? 1 : 0

  name                       = local.events
  message_retention_seconds  = 3600 # ECS forgets a stopped task after an hour, and whoever comes later looks for it by itself
  visibility_timeout_seconds = 30   # an event that was not for its reader is another's after that
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = true
  tags                       = var.tags
}

resource "aws_sqs_queue_policy" "events" {
  count = var.events ? 1 : 0

  queue_url = aws_sqs_queue.events[0].url
  policy    = module.policies.events
}

resource "aws_cloudwatch_event_rule" "events" {
  count = var.events ? 1 : 0

  name        = local.events
  description = "Changes of the state of tasks in ECS cluster ${var.cluster}, for Weir."
  tags        = var.tags

  event_pattern = jsonencode({
    source      = ["aws.ecs"]
    detail-type = ["ECS Task State Change"]
    detail = {
      clusterArn = ["arn:${data.aws_partition.this.partition}:ecs:${data.aws_region.this.id}:${local.of}:cluster/${var.cluster}"]
      startedBy  = [{ prefix = "weir-" }]
    }
  })
}

resource "aws_cloudwatch_event_target" "events" {
  count = var.events ? 1 : 0

  rule = aws_cloudwatch_event_rule.events[0].name
  arn  = aws_sqs_queue.events[0].arn

  depends_on = [aws_sqs_queue_policy.events]
}
