# The policies, from the same texts that `weir work-pool provision` uses. No provider is needed: what goes in is names, what comes out is JSON.

locals {
  of = "${var.region}:${var.account}"

  values = {
    partition     = var.partition
    region        = var.region
    account       = var.account
    cluster       = var.cluster
    family_prefix = var.family_prefix

    task_definitions = concat(
      ["arn:${var.partition}:ecs:${local.of}:task-definition/${var.family_prefix}*"],
      [for family in var.families : "arn:${var.partition}:ecs:${local.of}:task-definition/${family}:*"],
    )
    task_roles   = var.roles
    log_groups   = [for name in var.log_groups : "arn:${var.partition}:logs:${local.of}:log-group:${name}:*"]
    repositories = length(var.repositories) > 0 ? var.repositories : ["arn:${var.partition}:ecr:${local.of}:repository/*"]
    secrets      = var.secrets
    parameters   = var.parameters
    keys         = var.keys

    event_queues = [for name in compact([var.queue]) : "arn:${var.partition}:sqs:${local.of}:${name}"]
    queue_arn    = "arn:${var.partition}:sqs:${local.of}:${var.queue}"
    rule_arn     = "arn:${var.partition}:events:${local.of}:rule/${var.rule}"
  }

  texts = {
    for name in ["runner", "execution", "agent", "tasks", "events"] :
    name => jsondecode(templatefile("${path.module}/${name}.json.tftpl", local.values))
  }

  # IAM does not take a statement's Why, nor one about nothing.
  policies = {
    for name, text in local.texts : name => jsonencode({
      Version = text.Version
      Statement = [
        for statement in text.Statement : { for key, value in statement : key => value if key != "Why" }
        if try(length(flatten([statement.Resource])), 1) > 0
      ]
    })
  }
}
