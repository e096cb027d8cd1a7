// Turns commander's complaints about a wrong command line into errors worded like all others.

import { CommanderError, type Command } from 'commander';
import { TandemError } from '../errors.ts';

/** By commander's code: a pattern for its message, and the replacement. */
const MESSAGES: Readonly<Record<string, readonly [RegExp, string]>> = {
  'commander.unknownOption': [/unknown option '(.*?)'/, 'Expected a known option, received $1'],
  'commander.unknownCommand': [
    /unknown command '(.*?)'/,
    'Expected a known command, received "$1"',
  ],
  'commander.missingMandatoryOptionValue': [
    /required option '(.*?)' not specified/,
    'Expected option $1, received none',
  ],
  'commander.optionMissingArgument': [
    /option '(.*?)' argument missing/,
    'Expected a value for option $1, received none',
  ],
  'commander.missingArgument': [
    /missing required argument '(.*?)'/,
    'Expected argument <$1>, received none',
  ],
  'commander.invalidArgument': [
    /(?:option|command-argument value|argument) '(.*?)' argument '(.*?)' is invalid\.\s*(.*?)\.?$/s,
    'Expected a valid value for option $1, received "$2": $3',
  ],
};

/**
 * Makes `program` and its commands throw errors instead of printing them and ending the process.
 */
export function throwUsageErrors(program: Command): void {
  program.exitOverride();
  program.configureOutput({ outputError: () => undefined });
  for (const command of program.commands) throwUsageErrors(command);
}

/** The error to print; undefined when commander has already printed the help or the version. */
export function usageError(error: CommanderError): TandemError | undefined {
  if (/^commander\.(help|helpDisplayed|version)$/.test(error.code)) return undefined;
  const text = error.message.replace(/^error: /, '');
  const [problem = text, hint] = text.split('\n');
  const [pattern, message] = MESSAGES[error.code] ?? [
    /^(.*?)\.?$/s,
    'Expected a valid command line, received this: $1',
  ];
  const sentence = problem.replace(pattern, message);
  const suggestion = hint === undefined ? '' : ` ${hint.replace(/^\(|\)$/g, '')}`;
  return new TandemError(
    'ERR_INVALID_ARGUMENT',
    `${sentence}.${suggestion} Run "tandem --help" for all commands.`,
  );
}
