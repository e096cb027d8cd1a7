// What commander says about a wrong command line, in the words of every other error of this program.

import { CommanderError, type Command } from 'commander';
import { TandemError } from '../errors.ts';

/** Commander's code, where its message names what came, and what to say instead. */
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

/** Makes `program` and its commands throw instead of writing errors and ending the process. */
export function throwUsageErrors(program: Command): void {
  program.exitOverride();
  program.configureOutput({ outputError: () => undefined });
  for (const command of program.commands) throwUsageErrors(command);
}

/** The error to print; undefined when help or version was asked for and is already printed. */
export function usageError(error: CommanderError): TandemError | undefined {
  if (/^commander\.(help|helpDisplayed|version)$/.test(error.code)) return undefined;
  const text = error.message.replace(/^error: /, '');
  const [problem = text, hint] = text.split('\n');
  const [pattern, message] = MESSAGES[error.code] ?? [
    /^(.*?)\.?$/s,
    'Expected another command line, received this: $1',
  ];
  const said = problem.replace(pattern, message);
  const meant = hint === undefined ? '' : ` ${hint.replace(/^\(|\)$/g, '')}`;
  return new TandemError(
    'ERR_INVALID_ARGUMENT',
    `${said}.${meant} "tandem --help" lists what there is.`,
  );
}
