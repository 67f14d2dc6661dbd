# A Weir worker as an ECS service on Fargate. It serves one work pool of type ecs: it takes runs from NATS and starts a task for each. The tasks go on
# when the service is deployed anew, and the next worker goes on with them.

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  # Only secrets that are there become part of the task, so that none is asked for by an empty name.
  secrets = { for name, arn in { NATS_URL = var.nats_url_secret, WEIR_NATS_CREDS = var.nats_creds_secret } : name => arn if arn != null }

  # The credentials come as text in a variable, and `weir` reads a file: it is written where nobody else reads, and the variable is not handed on.
  with_creds = [
    "sh", "-c",
    "umask 077; printf '%s' \"$WEIR_NATS_CREDS\" >/tmp/nats.creds; unset WEIR_NATS_CREDS; NATS_CREDS=/tmp/nats.creds exec \"$@\"", "sh",
  ]
  command = concat(
    var.nats_creds_secret == null ? [] : local.with_creds,
    ["weir", "worker", "start", "--pool", var.pool, "--limit", tostring(var.slots)],
    var.arguments,
  )
}

# What the worker may do: run tasks in the jobs' cluster.
module "policies" {
  source = "../ecs-policies"

  partition     = data.aws_partition.this.partition
  region        = data.aws_region.this.id
  account       = data.aws_caller_identity.this.account_id
  cluster       = var.jobs_cluster
  family_prefix = var.family_prefix
  families      = var.families
  roles         = var.jobs_roles
  log_groups    = var.jobs_log_groups
  queue         = var.events_queue
}

# What ECS may do to start the worker: pull its image, read its two secrets, write its log.
module "own_policies" {
  source = "../ecs-policies"

  partition    = data.aws_partition.this.partition
  region       = data.aws_region.this.id
  account      = data.aws_caller_identity.this.account_id
  cluster      = var.jobs_cluster
  log_groups   = ["/weir/worker/${var.name}"]
  repositories = var.repositories
  secrets      = values(local.secrets)
  keys         = var.keys
}

resource "aws_cloudwatch_log_group" "worker" {
  name              = "/weir/worker/${var.name}"
  retention_in_days = var.log_retention_days
  tags              = var.tags
}

resource "aws_iam_role" "execution" {
  name                 = "${var.name}-execution"
  description          = "ECS starts Weir worker ${var.name} with this role."
  assume_role_policy   = module.own_policies.agent
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role_policy" "execution" {
  name   = "weir"
  role   = aws_iam_role.execution.id
  policy = module.own_policies.execution
}

resource "aws_iam_role" "worker" {
  name                 = var.name
  description          = "Weir worker ${var.name} of pool ${var.pool} runs tasks with this role."
  assume_role_policy   = module.policies.tasks
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role_policy" "worker" {
  name   = "weir"
  role   = aws_iam_role.worker.id
  policy = module.policies.runner
}

# Nobody calls a worker, and it calls NATS and AWS.
resource "aws_security_group" "worker" {
  name        = var.name
  description = "Weir worker ${var.name}: nothing in, everything out."
  vpc_id      = var.vpc_id
  tags        = var.tags

  egress {
    description      = "NATS and AWS"
    from_port        = 0
    to_port          = 0
    protocol         = "-1"
    cidr_blocks      = ["0.0.0.0/0"]
    ipv6_cidr_blocks = ["::/0"]
  }
}

resource "aws_ecs_task_definition" "worker" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.worker.arn
  tags                     = var.tags

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }

  container_definitions = jsonencode([{
    name       = "worker"
    image      = var.image
    essential  = true
    entryPoint = slice(local.command, 0, 1)
    command    = slice(local.command, 1, length(local.command))

    # The first SIGTERM drains the worker. What still runs when the time is over goes on without it.
    stopTimeout = var.stop_timeout

    environment = [
      for name, value in merge({ AWS_REGION = data.aws_region.this.id }, var.environment) : { name = name, value = value }
    ]
    secrets = [for name, arn in local.secrets : { name = name, valueFrom = arn }]

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.worker.name
        awslogs-region        = data.aws_region.this.id
        awslogs-stream-prefix = "weir"
      }
    }
  }])
}

resource "aws_ecs_service" "worker" {
  name            = var.name
  cluster         = var.cluster_arn
  task_definition = aws_ecs_task_definition.worker.arn
  desired_count   = var.desired_count
  launch_type     = "FARGATE"
  propagate_tags  = "SERVICE"
  tags            = var.tags

  # The new worker is there before the old one drains.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnets
    security_groups  = concat([aws_security_group.worker.id], var.security_groups)
    assign_public_ip = var.assign_public_ip
  }

  # Its first task would start before ECS may read the secrets.
  depends_on = [aws_iam_role_policy.execution, aws_iam_role_policy.worker]
}
